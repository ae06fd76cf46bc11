"""From Prefect's states to the row's status, and which moves between BatchStates are allowed (CONTRACT 6): one table each."""

from collections.abc import Mapping
from enum import StrEnum

from compat.errors import InvalidStateTransitionError


class RowStatus(StrEnum):
    """What a status column holds."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# What the row of an attempt says that was cut off: it doesn't count, and is made again when the batch goes on.
SKIPPED = "skipped"

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
    """Return the row status for a Prefect state, e.g. ``legacy_status("SCHEDULED", "AwaitingRetry") == "running"``.

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
    """Raise InvalidStateTransitionError unless a batch may go from one BatchState (by name) to another."""
    if attempted not in TRANSITIONS.get(current, frozenset()):
        raise InvalidStateTransitionError(batch_id, current, attempted)
