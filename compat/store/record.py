"""A batch as its rows tell it: the one view of it that leaves the store, read in one query."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    type_coerce,
)

from compat.contracts import BatchConfig, BatchState, Cancelled, Completed, Extracting, Failed, Pending, Resolving
from compat.errors import BatchNotFoundError
from compat.keepable import keepable_text
from compat.modes import Mode
from compat.policy import INTERRUPTED, RESOLUTION_NAME
from compat.status import TERMINAL, RowStatus
from compat.store.schema import BatchEventRow, BatchExecution, BatchRun, WorkflowExecution
from compat.store.sql import clock

# The longest time between two heartbeats, and so the longest that a cancel outside of the store stays unseen.
HEARTBEAT_SECONDS = 5.0
# What is counted of a batch while it runs: columns of its run, and of the row that old readers know.
COUNTS = ("completed_documents", "failed_documents", "entity_count", "relation_count")


def heartbeat_seconds(lease_seconds: float) -> float:
    """Return how often a holder gives a sign of life."""
    return min(lease_seconds / 4, HEARTBEAT_SECONDS)


@dataclass(frozen=True)
class Claim:
    """A batch in somebody's hands. Every write of its holder names the ``holder_token``."""

    batch_id: str
    holder_token: str
    generation: int
    organization_id: str
    ontology_id: str
    execution_id: str
    mode: Mode
    config: BatchConfig


@dataclass(frozen=True)
class BatchRecord:
    """A batch at the moment at which it was read.

    Attributes:
        batch_id: As the caller gave it, or as it was made.
        organization_id: Whose batch it is.
        ontology_id: The ontology that the caller named.
        params_hash: What tells its request from others.
        execution_id: The id of its row in ``knowledge_workflow_execution``.
        mode: What serves it, or served it last: ``legacy``, ``shadow`` or ``engine``.
        mode_reason: Why that mode.
        rolled_back_from: The mode that it was taken from, where it was.
        generation: How often it was resumed.
        holder_token: The token of the process that holds it; None once it has ended.
        flow_run_id: The flow run that serves it, or served it last.
        cancel_requested: Whether somebody asked for its end.
        status: The status of its row, which may say `running` of a dead batch; ``state`` doesn't.
        error: Why it failed or was cancelled.
        total_documents: As asked for.
        completed_documents: Extracted so far.
        failed_documents: Failed for good so far.
        entity_count: Of the extracted documents together.
        relation_count: Of the extracted documents together.
        resolving: Whether its entities are being resolved, or have been.
        resolved: Whether they have been.
        resolution_error: Why they could not be merged, where that failed.
        stored_config: Its config as it is stored; ``config`` is the model.
        row_input: The JSON that old readers find as its row's input.
        created_at: When it was claimed first.
        started_at: When its first document could start.
        completed_at: When it ended.
        read_at: When this was read, by the database's clock.
        heartbeat_at: When its holder gave its last sign of life, by the database's clock.
        lease_seconds: How long a holder may be silent.
    """

    batch_id: str
    organization_id: str
    ontology_id: str
    params_hash: str
    execution_id: str
    mode: str
    mode_reason: str
    rolled_back_from: str | None
    generation: int
    holder_token: str | None
    flow_run_id: str | None
    cancel_requested: bool
    status: str
    error: str | None
    total_documents: int
    completed_documents: int
    failed_documents: int
    entity_count: int
    relation_count: int
    resolving: bool
    resolved: bool
    resolution_error: str | None
    stored_config: dict[str, Any]
    row_input: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    read_at: datetime
    heartbeat_at: datetime
    lease_seconds: float

    @cached_property
    def config(self) -> BatchConfig:
        """How it is worked through. Raises ValueError where what is stored can't be read."""
        return BatchConfig.model_validate(self.stored_config)

    @property
    def ended(self) -> bool:
        """Whether its row has a terminal status."""
        return self.status in TERMINAL

    @property
    def counts(self) -> dict[str, int]:
        """The counts by their columns' names."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def finished_documents(self) -> int:
        """Documents that have an outcome, good or bad."""
        return self.completed_documents + self.failed_documents

    @property
    def seconds(self) -> float:
        """From its start to its end, or until it was read."""
        return 0.0 if self.started_at is None else ((self.completed_at or self.read_at) - self.started_at).total_seconds()

    @property
    def silent_seconds(self) -> float:
        """How long its holder had given no sign of life when this was read."""
        return (self.read_at - self.heartbeat_at).total_seconds()

    @property
    def dead(self) -> bool:
        """Whether it has not ended and lost its holder: no heartbeat for a whole lease."""
        return not self.ended and self.silent_seconds >= self.lease_seconds

    @property
    def silent(self) -> bool:
        """Whether its holder missed two heartbeats: enough for whoever knows that the holder's process has ended."""
        return self.silent_seconds >= 2 * heartbeat_seconds(self.lease_seconds)

    @property
    def interrupted(self) -> str:
        """The error text of a batch whose holder is dead."""
        return f"{INTERRUPTED}: no heartbeat for {self.lease_seconds:g} s; go on with knowledge-batch resume {self.batch_id}"

    @property
    def state_name(self) -> str:
        """The name of its BatchState. A batch whose holder is dead has failed, whatever its row still says."""
        return "Failed" if self.dead else self.row_state_name

    @property
    def row_state_name(self) -> str:
        """The name of the BatchState that its row still says."""
        if self.status == RowStatus.RUNNING:
            return "Resolving" if self.resolving else "Extracting"
        return self.status.capitalize()

    @property
    def state(self) -> BatchState:
        """Where it stands. Raises ValueError for an unknown status."""
        batch_id, finished, total = self.batch_id, self.finished_documents, self.total_documents
        if self.dead:
            return Failed(batch_id=batch_id, failed_documents=self.failed_documents, error=self.interrupted)
        match RowStatus(self.status):
            case RowStatus.PENDING:
                return Pending(batch_id=batch_id)
            case RowStatus.RUNNING if self.resolving:
                return Resolving(batch_id=batch_id, progress=1.0 if self.resolved else 0.0)
            case RowStatus.RUNNING:
                progress = min(1.0, finished / total) if total else 0.0
                return Extracting(batch_id=batch_id, completed_documents=finished, total_documents=total, progress=progress)
            case RowStatus.COMPLETED:
                return Completed(
                    batch_id=batch_id,
                    # Of the documents attempted, as in the result; under abort-all fewer than were asked for.
                    total_documents=finished,
                    entity_count=self.entity_count,
                    relation_count=self.relation_count,
                )
            case RowStatus.FAILED:
                return Failed(batch_id=batch_id, failed_documents=self.failed_documents, error=self.error or "")
            case RowStatus.CANCELLED:
                return Cancelled(batch_id=batch_id, completed_documents=finished, total_documents=total)


def find(connection: Connection, batch_id: str, lease_seconds: float, *, lock: bool = False) -> BatchRecord:
    """Return the batch, with ``lock`` held against others until the transaction ends. Raises BatchNotFoundError."""
    if keepable_text(batch_id) != batch_id:
        # No database keeps such an id, and each refuses to look for it in its own way.
        raise BatchNotFoundError(keepable_text(batch_id))
    query = _query().where(BatchRun.batch_id == batch_id)
    if lock:
        # All three: of a row that is joined unlocked, PostgreSQL would show what it was before the wait for the lock.
        query = query.with_for_update(of=[BatchRun, BatchExecution, WorkflowExecution])
    row = connection.execute(query).first()
    if row is None:
        raise BatchNotFoundError(batch_id)
    return _record(row, lease_seconds)


def newest(connection: Connection, lease_seconds: float, limit: int) -> list[BatchRecord]:
    """Return the batches that were claimed last, the newest first."""
    query = _query().order_by(BatchExecution.created_at.desc(), BatchExecution.id).limit(limit)
    return _records(connection.execute(query).all(), lease_seconds)


def among(connection: Connection, lease_seconds: float, batch_ids: Select[Any]) -> list[BatchRecord]:
    """Return the batches whose ids a query finds, as far as they have been claimed."""
    return _records(connection.execute(_query().where(BatchRun.batch_id.in_(batch_ids))).all(), lease_seconds)


def unfinished(connection: Connection, lease_seconds: float) -> list[BatchRecord]:
    """Return the batches without a terminal status, the oldest first."""
    query = _query().where(BatchExecution.status.not_in(TERMINAL)).order_by(BatchRun.created_at)
    return _records(connection.execute(query).all(), lease_seconds)


def _count(name: str) -> ColumnElement[int]:
    """Return a count as it is now: from the old row if the batch has ended or an older version served it."""
    of_run, of_old_row = getattr(BatchRun, name), getattr(BatchExecution, name)
    return case((BatchExecution.status.in_(TERMINAL), of_old_row), else_=func.coalesce(of_run, of_old_row)).label(name)


def _query() -> Select[Any]:
    resolving = WorkflowExecution.last_activity_name.is_not_distinct_from(RESOLUTION_NAME)
    told = BatchEventRow.key == literal("resolution:") + cast(BatchRun.generation, Text) + ":completed"
    resolved = and_(resolving, exists().where(BatchEventRow.batch_id == BatchRun.batch_id, told))
    return (
        select(
            BatchRun.batch_id,
            BatchRun.organization_id,
            BatchRun.ontology_id,
            BatchRun.params_hash,
            BatchRun.execution_id,
            BatchRun.mode,
            BatchRun.mode_reason,
            BatchRun.rolled_back_from,
            BatchRun.generation,
            BatchRun.holder_token.label("holder_token"),
            BatchRun.flow_run_id,
            BatchRun.cancel_requested_at.is_not(None).label("cancel_requested"),
            BatchExecution.status,
            BatchExecution.error,
            BatchExecution.total_documents,
            *(_count(name) for name in COUNTS),
            type_coerce(resolving, Boolean).label("resolving"),
            type_coerce(resolved, Boolean).label("resolved"),
            BatchRun.resolution_error,
            BatchExecution.config.label("stored_config"),
            WorkflowExecution.input.label("row_input"),
            BatchExecution.created_at,
            BatchExecution.started_at,
            BatchExecution.completed_at,
            clock().label("read_at"),
            BatchRun.heartbeat_at,
        )
        .join(BatchExecution, BatchExecution.id == BatchRun.batch_id)
        .join(WorkflowExecution, WorkflowExecution.id == BatchRun.execution_id)
    )


def _record(row: Row[Any], lease_seconds: float) -> BatchRecord:
    return BatchRecord(**row._mapping, lease_seconds=lease_seconds)


def _records(rows: Sequence[Row[Any]], lease_seconds: float) -> list[BatchRecord]:
    return [_record(row, lease_seconds) for row in rows]
