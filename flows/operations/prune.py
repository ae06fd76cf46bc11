"""What is old is counted, then removed: ended batches with all of their rows, shadow runs, models' answers and calls.

What the gate and the record of the cutover rest on stays: reports, baselines, checks, changes, and batches of the last 7 days.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from compat.contracts import utc_now
from compat.ids import document_execution_id, extraction_id
from compat.status import TERMINAL
from compat.store import Store
from compat.store.database import Database
from compat.store.models import ModelStore
from compat.store.schema import (
    Base,
    BatchCheck,
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    CanonicalMember,
    CanonicalRow,
    CutoverRecord,
    DocumentOutcome,
    FanOutBatch,
    FanOutRow,
    MentionRecord,
    OntologyContent,
    ShadowSubmission,
    StoredBaseline,
    StoredReport,
    TapeRow,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import IDS, blocks

# The gate looks back so far by default, and judges by the batches that were served, too.
GATE_WINDOW = timedelta(days=7)
# By batch id, those that refer to others first.
_OF_A_BATCH = (
    CanonicalMember,
    CanonicalRow,
    BatchEventRow,
    DocumentOutcome,
    BatchDocument,
    TapeRow,
    ShadowSubmission,
    FanOutBatch,
)
_ended_at = func.coalesce(BatchExecution.completed_at, BatchExecution.created_at)


@dataclass(frozen=True)
class Old:
    """How much is old: ended batches with their documents and events, shadow runs, unused answers, and calls to models."""

    batches: int
    documents: int
    events: int
    shadow_runs: int
    answers: int
    calls: int


@dataclass(frozen=True)
class Kept:
    """How much stays although it is old, or whatever its age is.

    Attributes:
        in_gate_window: Old batches that ended in the last 7 days, which the gate judges by.
        unfinished: Old batches that haven't ended.
        awaiting_shadow: Old batches whose shadow hasn't been submitted.
        reports: Parity reports.
        baselines: Parity baselines.
        checks: Checks of batches that the engine served.
        changes: Changes of who serves, and drills.
    """

    in_gate_window: int
    unfinished: int
    awaiting_shadow: int
    reports: int
    baselines: int
    checks: int
    changes: int


@dataclass(frozen=True)
class Pruning:
    """What is old before a moment, and what is kept of it. ``removed`` says whether the old is gone."""

    before: datetime
    old: Old
    kept: Kept
    removed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {"before": self.before.isoformat(), "removed": self.removed, "old": asdict(self.old), "kept": asdict(self.kept)}


def look(main: Store, shadows: Store, age: timedelta) -> Pruning:
    """Return what is older than this, and what would be kept; nothing is changed."""
    now = utc_now()
    moment = now - age
    models, ended_before = ModelStore(main.database), min(moment, now - GATE_WINDOW)
    batches = _old_batches(ended_before)
    with main.database.read() as connection:
        old = Old(
            batches=_count(connection, BatchRun, BatchRun.batch_id.in_(batches)),
            documents=_count(connection, BatchDocument, BatchDocument.batch_id.in_(batches)),
            events=_count(connection, BatchEventRow, BatchEventRow.batch_id.in_(batches)),
            shadow_runs=0,
            answers=models.count_unused_answers(moment),
            calls=models.count_calls_before(moment),
        )
        ended = BatchExecution.status.in_(TERMINAL)
        kept = {
            "in_gate_window": _count(connection, BatchExecution, ended, _ended_at >= ended_before, _ended_at < moment),
            "unfinished": _count(connection, BatchExecution, ~ended, BatchExecution.created_at < moment),
            "awaiting_shadow": _count(
                connection, BatchExecution, BatchExecution.id.in_(_awaiting_shadow()), _ended_at < ended_before
            ),
            "checks": _count(connection, BatchCheck),
            "changes": _count(connection, CutoverRecord),
        }
    with shadows.database.read() as connection:
        runs = _count(connection, BatchRun, BatchRun.batch_id.in_(batches))
        kept |= {"reports": _count(connection, StoredReport), "baselines": _count(connection, StoredBaseline)}
    return Pruning(moment, Old(**{**asdict(old), "shadow_runs": runs}), Kept(**kept))


def prune(main: Store, shadows: Store, age: timedelta) -> Pruning:
    """Remove what is older than this, a batch at a time, each whole or not at all. Return what was removed."""
    before = look(main, shadows, age)
    ended_before = min(before.before, utc_now() - GATE_WINDOW)
    removed = [_remove_batches(store.database, ended_before) for store in (main, shadows)]
    models = ModelStore(main.database)
    models.forget_turns(before.before)
    # Answers before calls: a call tells of an answer that it wrote.
    answers, calls = models.prune_answers(before.before), models.prune_calls(before.before)
    (batches, documents, events), (runs, _, _) = removed
    return Pruning(before.before, Old(batches, documents, events, runs, answers, calls), before.kept, removed=True)


def _old_batches(moment: datetime) -> Select[tuple[str]]:
    """Select the ids of batches that ended before, and wait for no shadow, nor for another part of the same fan-out."""
    return (
        select(BatchRun.batch_id)
        .join(BatchExecution, BatchExecution.id == BatchRun.batch_id)
        .where(BatchExecution.status.in_(TERMINAL), _ended_at < moment, BatchRun.batch_id.not_in(_awaiting_shadow()))
        .where(BatchRun.batch_id.not_in(_of_young_fan_outs(moment)))
    )


def _of_young_fan_outs(moment: datetime) -> Select[tuple[str]]:
    young = (
        select(FanOutBatch.fan_out_id)
        .outerjoin(BatchExecution, BatchExecution.id == FanOutBatch.batch_id)
        .where(BatchExecution.id.is_(None) | BatchExecution.status.not_in(TERMINAL) | (_ended_at >= moment))
    )
    return select(FanOutBatch.batch_id).where(FanOutBatch.fan_out_id.in_(young))


def _awaiting_shadow() -> Select[tuple[str]]:
    return select(ShadowSubmission.batch_id).where(ShadowSubmission.status == "requested")


def _count(connection: Connection, table: type[Base], *conditions: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()


def _remove_batches(database: Database, moment: datetime) -> tuple[int, int, int]:
    """Remove the batches that ended before. Return how many batches, documents and events."""
    with database.read() as connection:
        batch_ids = connection.execute(_old_batches(moment).order_by(BatchRun.batch_id)).scalars().all()
    removed = [_remove_batch(database, batch_id, moment) for batch_id in batch_ids]
    if any(removed):
        _remove_unused_ontologies(database)
        with database.write() as connection:
            parts = select(FanOutBatch.fan_out_id)
            connection.execute(delete(FanOutRow).where(FanOutRow.id.not_in(parts), FanOutRow.created_at < moment))
    gone = [each for each in removed if each is not None]
    return len(gone), sum(documents for documents, _ in gone), sum(events for _, events in gone)


def _remove_batch(database: Database, batch_id: str, moment: datetime) -> tuple[int, int] | None:
    """Remove a batch with all of its rows; None where somebody resumed it meanwhile."""
    with database.write() as connection:
        # The run's row is what a resume locks.
        still = _old_batches(moment).where(BatchRun.batch_id == batch_id).with_for_update(of=BatchRun)
        if connection.execute(still).first() is None:
            return None
        row_id = connection.execute(select(BatchRun.execution_id).where(BatchRun.batch_id == batch_id)).scalar_one()
        documents = (
            connection.execute(select(BatchDocument.document_id).where(BatchDocument.batch_id == batch_id)).scalars().all()
        )
        for statement in _of_documents(batch_id, documents):
            connection.execute(statement)
        counts = {}
        for table in _OF_A_BATCH:
            counts[table] = connection.execute(delete(table).where(table.batch_id == batch_id)).rowcount
        connection.execute(delete(WorkflowExecution).where(WorkflowExecution.id == row_id))
        connection.execute(delete(BatchExecution).where(BatchExecution.id == batch_id))
        connection.execute(delete(BatchRun).where(BatchRun.batch_id == batch_id))
    return len(documents), counts[BatchEventRow]


def _of_documents(batch_id: str, document_ids: Any) -> Iterator[Any]:
    """Yield what removes the rows that old readers know of documents; their ids are made of batch and document."""
    for some in blocks(document_ids, IDS):
        executions = [document_execution_id(batch_id, document_id) for document_id in some]
        extractions = [extraction_id(batch_id, document_id) for document_id in some]
        yield delete(MentionRecord).where(MentionRecord.extraction_id.in_(extractions))
        yield delete(WorkflowActivity).where(WorkflowActivity.execution_id.in_(executions))
        yield delete(WorkflowExecution).where(WorkflowExecution.id.in_(executions))


def _remove_unused_ontologies(database: Database) -> None:
    """Remove the ontologies that no document has any more."""
    with database.write() as connection:
        if database.dialect == "postgresql":
            # A claim that has found its ontology stored writes its documents later: it is waited for, and the next one waits.
            connection.exec_driver_sql(f"LOCK TABLE {OntologyContent.__tablename__} IN SHARE ROW EXCLUSIVE MODE")
        used = select(BatchDocument.ontology_hash)
        connection.execute(delete(OntologyContent).where(OntologyContent.hash.not_in(used)))
