"""Where a batch stands (CONTRACT 6): a union that readers tell apart by ``_tag``."""

from pydantic import Field

from compat.contracts.events import Tagged


class BatchState(Tagged):
    """Where a batch stands."""

    union = "BatchState"


class Pending(BatchState):
    """Stored, and not begun."""


class Extracting(BatchState):
    """Documents are in work."""

    completed_documents: int
    total_documents: int
    progress: float = Field(ge=0.0, le=1.0)


class Resolving(BatchState):
    """The documents are done, their entities are being resolved."""

    progress: float = Field(ge=0.0, le=1.0)


class Completed(BatchState):
    """Ended as completed."""

    total_documents: int
    entity_count: int
    relation_count: int


class Failed(BatchState):
    """Ended as failed; it can be resumed."""

    failed_documents: int
    error: str


class Cancelled(BatchState):
    """Ended because somebody cancelled it."""

    completed_documents: int
    total_documents: int
