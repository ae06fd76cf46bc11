"""The risks of the migration that a comparison can see, and the one table of which difference belongs to which."""

from collections.abc import Mapping
from typing import Literal

Risk = Literal["R1", "R2", "R3", "R4", "R7"]
RISKS: Mapping[Risk, str] = {
    "R1": "failure policy and outcomes: order, rounds, how many at once, what became of each document, and the graph",
    "R2": "retries: attempts and their owner",
    "R3": "status and rows as old readers see them",
    "R4": "what another process finds with nothing but the batch id",
    "R7": "events: their order, and the terminal one",
}

# The risk of a difference by frame, and of single columns that belong to another one.
_RISK_OF_FRAME: Mapping[str, Risk] = {
    "batch": "R1",
    "requests": "R4",
    "documents": "R1",
    "entities": "R1",
    "relations": "R1",
    "contract": "R1",
    "events": "R7",
    "batch_rows": "R3",
    "document_rows": "R3",
    "activity_rows": "R3",
    "mention_rows": "R3",
    "lookup": "R4",
}
_RISK_OF_COLUMN: Mapping[tuple[str, str], Risk] = {
    ("batch", "terminal_event"): "R7",
    ("batch", "terminal_payload"): "R7",
    ("batch", "state"): "R3",
    ("batch", "state_payload"): "R3",
    ("documents", "attempts"): "R2",
    ("documents", "counted_attempts"): "R2",
    ("documents", "owner"): "R2",
    ("documents", "calls_breach"): "R2",
    ("documents", "duration_is_negative"): "R3",
    ("documents", "moments_breach"): "R3",
    ("contract", "timestamps"): "R7",
    ("contract", "stray_rows_of_knowledge_workflow_execution"): "R3",
    ("contract", "stray_rows_of_knowledge_workflow_activity"): "R3",
    ("contract", "stray_rows_of_knowledge_mention_record"): "R3",
    ("document_rows", "retry_count"): "R2",
    ("activity_rows", "attempt"): "R2",
}


def risk_of(frame: str, column: str | None) -> Risk:
    """Return whether a difference belongs to a risk."""
    return _RISK_OF_COLUMN.get((frame, column or ""), _RISK_OF_FRAME[frame])


def frames_of(risk: Risk) -> set[str]:
    """Return the frames in which a risk would show; a batch without a row in any of them is no evidence for it."""
    own = {frame for frame, of in _RISK_OF_FRAME.items() if of == risk}
    # R2 has columns in other risks' frames only.
    return own or {frame for (frame, _), of in _RISK_OF_COLUMN.items() if of == risk}
