"""From Prefect's states to the row's status to BatchState (CONTRACT 6): one table each, total, without Prefect."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from compat.contracts import BatchState, Cancelled, Completed, Extracting, Failed, Pending, Resolving
from compat.errors import InvalidStateTransitionError


class RowStatus(StrEnum):
    """What a status column holds."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.CANCELLED})

# The message Prefect gives a run that collision strategy CANCEL_NEW refused: nobody cancelled the batch.
CONCURRENCY_REFUSAL = "Deployment concurrency limit reached."

# (state type, state name) -> row status. A name of None is the type's answer for names that anybody may make up.
STATUS_OF: Mapping[tuple[str, str | None], RowStatus] = {
    ("SCHEDULED", "Scheduled"): RowStatus.PENDING,
    ("SCHEDULED", "Late"): RowStatus.PENDING,
    ("SCHEDULED", "AwaitingConcurrencySlot"): RowStatus.PENDING,
    # Both are mid-run: documents have been worked on, and more will be.
    ("SCHEDULED", "AwaitingRetry"): RowStatus.RUNNING,
    ("SCHEDULED", "Resuming"): RowStatus.RUNNING,
    ("SCHEDULED", None): RowStatus.PENDING,
    ("PENDING", "Pending"): RowStatus.PENDING,
    ("PENDING", "Submitting"): RowStatus.PENDING,
    ("PENDING", "InfrastructurePending"): RowStatus.PENDING,
    ("PENDING", "NotReady"): RowStatus.PENDING,
    ("PENDING", None): RowStatus.PENDING,
    ("RUNNING", "Running"): RowStatus.RUNNING,
    ("RUNNING", "Retrying"): RowStatus.RUNNING,
    ("RUNNING", None): RowStatus.RUNNING,
    ("COMPLETED", "Completed"): RowStatus.COMPLETED,
    ("COMPLETED", "Cached"): RowStatus.COMPLETED,
    # Completed by type, yet its work was undone.
    ("COMPLETED", "RolledBack"): RowStatus.FAILED,
    ("COMPLETED", None): RowStatus.COMPLETED,
    ("FAILED", "Failed"): RowStatus.FAILED,
    ("FAILED", "TimedOut"): RowStatus.FAILED,
    ("FAILED", None): RowStatus.FAILED,
    # Old readers know no pause: a batch that has begun and not ended is running.
    ("PAUSED", "Paused"): RowStatus.RUNNING,
    ("PAUSED", "Suspended"): RowStatus.RUNNING,
    ("PAUSED", "NotReady"): RowStatus.PENDING,
    ("PAUSED", None): RowStatus.RUNNING,
    ("CANCELLING", "Cancelling"): RowStatus.RUNNING,
    ("CANCELLING", None): RowStatus.RUNNING,
    ("CANCELLED", "Cancelled"): RowStatus.CANCELLED,
    ("CANCELLED", None): RowStatus.CANCELLED,
    ("CRASHED", "Crashed"): RowStatus.FAILED,
    ("CRASHED", None): RowStatus.FAILED,
}

# Allowed moves between BatchStates. A state that isn't a key is final.
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "Pending": frozenset({"Extracting", "Cancelled", "Failed"}),
    "Extracting": frozenset({"Resolving", "Completed", "Failed", "Cancelled"}),
    "Resolving": frozenset({"Completed", "Failed", "Cancelled"}),
    "Failed": frozenset({"Pending"}),
}


def legacy_status(state_type: str, state_name: str | None, message: str | None = None) -> str:
    """The row status for a Prefect state, e.g. ``legacy_status("SCHEDULED", "AwaitingRetry") == "running"``.

    Names are free text in Prefect, so an unknown name answers by its type. Raises ValueError for a
    type that this table lacks: a guess there would be a status that old readers misread.
    """
    kind = str(getattr(state_type, "value", state_type)).upper()
    if kind == "CANCELLED" and message is not None and CONCURRENCY_REFUSAL in message:
        return RowStatus.FAILED.value
    status = STATUS_OF.get((kind, state_name)) or STATUS_OF.get((kind, None))
    if status is None:
        raise ValueError(f"state type {kind!r} has no row status; add it to compat.status.STATUS_OF")
    return status.value


def check_transition(batch_id: str, current: str, attempted: str) -> None:
    """Raises InvalidStateTransitionError unless a batch may go from one BatchState (by name) to another."""
    if attempted not in TRANSITIONS.get(current, frozenset()):
        raise InvalidStateTransitionError(batch_id, current, attempted)


@dataclass(frozen=True)
class Snapshot:
    """A batch as its rows tell it, enough to say where it stands."""

    batch_id: str
    status: RowStatus
    resolving: bool
    resolved: bool
    completed_documents: int
    failed_documents: int
    total_documents: int
    entity_count: int
    relation_count: int
    error: str | None

    @property
    def finished_documents(self) -> int:
        """Documents that have an outcome, good or bad."""
        return self.completed_documents + self.failed_documents


def batch_state(snapshot: Snapshot) -> BatchState:
    """The BatchState of a snapshot. ``completedDocuments`` counts every document that has an outcome."""
    batch_id = snapshot.batch_id
    finished, total = snapshot.finished_documents, snapshot.total_documents
    match snapshot.status:
        case RowStatus.PENDING:
            return Pending(batch_id=batch_id)
        case RowStatus.RUNNING if snapshot.resolving:
            return Resolving(batch_id=batch_id, progress=1.0 if snapshot.resolved else 0.0)
        case RowStatus.RUNNING:
            progress = min(1.0, finished / total) if total else 0.0
            return Extracting(batch_id=batch_id, completed_documents=finished, total_documents=total, progress=progress)
        case RowStatus.COMPLETED:
            return Completed(
                batch_id=batch_id,
                # Of the documents attempted, as in the result; under abort-all fewer than were asked for.
                total_documents=finished,
                entity_count=snapshot.entity_count,
                relation_count=snapshot.relation_count,
            )
        case RowStatus.FAILED:
            return Failed(batch_id=batch_id, failed_documents=snapshot.failed_documents, error=snapshot.error or "")
        case RowStatus.CANCELLED:
            return Cancelled(batch_id=batch_id, completed_documents=finished, total_documents=total)
