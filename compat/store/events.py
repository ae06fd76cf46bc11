"""The event log of a batch: stored in order, each event once, readable from the first on."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, func, select, update

from compat.contracts import ActivityProgress, BatchCompleted, BatchEvent, BatchFailed, utc_now
from compat.errors import WorkflowNotFoundError
from compat.policy import ACTIVITY_NAME
from compat.status import SKIPPED
from compat.store.database import Database
from compat.store.failures import best_effort, infrastructure
from compat.store.schema import BatchEventRow, BatchRun, WorkflowActivity, WorkflowExecution
from compat.store.sql import insert_or_ignore

# Seconds between two looks at the log of a batch that is being followed.
POLL_SECONDS = 0.2

# Events in memory at a time.
BLOCK = 1_000

# How the keys of StageProgress begin: how often a document tells how far it is hangs on the clock, so no two runs tell the same.
PROGRESS = "progress:"


def emit(connection: Connection, key: str, event: BatchEvent, document_id: str | None = None) -> None:
    """Add an event to the log, unless one with this key is there. Best effort: a failure is logged and changes nothing else.

    Belongs in the transaction of what it tells. Taking the next number locks the batch's run, so
    numbers become visible in order and a follower misses none.
    """
    with best_effort(connection, f"batch {event.batch_id}: event {key}"):
        number = connection.execute(
            update(BatchRun)
            .where(BatchRun.batch_id == event.batch_id)
            .values(next_sequence=BatchRun.next_sequence + 1)
            .returning(BatchRun.next_sequence)
        ).scalar_one()
        # From here on nobody else takes a number, so numbers and moments run in one order.
        now = utc_now()
        row = {
            "batch_id": event.batch_id,
            "sequence": number - 1,
            "key": key,
            "document_id": document_id,
            "payload": event.model_copy(update={"timestamp": now}).model_dump(mode="json"),
            "superseded": False,
            "created_at": now,
        }
        insert_or_ignore(connection, BatchEventRow, row)


def is_stored(connection: Connection, batch_id: str, key: str) -> bool:
    """Return whether the log has the event of this key."""
    query = select(BatchEventRow.sequence).where(BatchEventRow.batch_id == batch_id, BatchEventRow.key == key)
    return connection.execute(query).first() is not None


def stored_events(database: Database, batch_id: str, after: int = -1) -> Iterator[tuple[int, BatchEvent]]:
    """Yield the events that follow number ``after``, with their sequence numbers; a block of them is in memory at a time.

    Superseded ones are left out.
    """
    query = (
        select(BatchEventRow.sequence, BatchEventRow.payload)
        .where(BatchEventRow.batch_id == batch_id, BatchEventRow.superseded.is_(False))
        .order_by(BatchEventRow.sequence)
        .limit(BLOCK)
    )
    while True:
        with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
            rows = connection.execute(query.where(BatchEventRow.sequence > after)).all()
        for sequence, payload in rows:
            yield sequence, BatchEvent.parse(payload)
        if len(rows) < BLOCK:
            return
        after = rows[-1].sequence


def last_sequence(database: Database, batch_id: str) -> int:
    """Return the number of the batch's last event; -1 where there is none."""
    query = select(func.coalesce(func.max(BatchEventRow.sequence), -1)).where(BatchEventRow.batch_id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        return connection.execute(query).scalar_one()


def follow(database: Database, batch_id: str, goes_on: Callable[[], bool]) -> Iterator[BatchEvent]:
    """Yield the events of a batch from the first on, up to the terminal one, or until ``goes_on`` returns False."""
    after = -1
    while True:
        # Asked before reading: what was written before it turned false is still read.
        more = goes_on()
        for sequence, event in stored_events(database, batch_id, after):
            after = sequence
            yield event
            more = more and not isinstance(event, BatchCompleted | BatchFailed)
        if not more:
            return
        time.sleep(POLL_SECONDS)


def document_progress(database: Database, execution_id: str) -> list[ActivityProgress]:
    """Return the progress of one document's pipeline by its activity rows: two entries an attempt once it has ended.

    Raises WorkflowNotFoundError where no such execution is stored.
    """
    with database.read() as connection:
        if not connection.execute(select(WorkflowExecution.id).where(WorkflowExecution.id == execution_id)).first():
            raise WorkflowNotFoundError(execution_id)
        rows = connection.execute(
            select(WorkflowActivity.status, WorkflowActivity.error, WorkflowActivity.started_at, WorkflowActivity.completed_at)
            .where(WorkflowActivity.execution_id == execution_id)
            .order_by(WorkflowActivity.started_at)
        ).all()
    entries = []
    for status, error, started_at, completed_at in rows:
        entries.append(_progress(execution_id, "started", 0.0, "started", started_at))
        if status == "completed":
            entries.append(_progress(execution_id, "completed", 1.0, "completed", completed_at))
        elif status in ("failed", SKIPPED):
            entries.append(_progress(execution_id, "failed", 0.0, error or "failed", completed_at))
    return entries


def _progress(execution_id: str, status: Any, progress: float, message: str, timestamp: Any) -> ActivityProgress:
    return ActivityProgress(
        execution_id=execution_id,
        activity_name=ACTIVITY_NAME,
        status=status,
        progress=progress,
        message=message,
        timestamp=timestamp,
    )
