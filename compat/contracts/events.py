"""What happens to a batch (CONTRACT 5): a union that readers tell apart by ``_tag``, and the progress of a document."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compat.contracts.payload import Payload, utc_now


class Tagged(Payload):
    """A member of a union that readers tell apart by ``_tag``, e.g. ``BatchEvent.DocumentFailed``."""

    union: ClassVar[str]
    tag: str = Field("", alias="_tag")
    batch_id: str

    @model_validator(mode="before")
    @classmethod
    def _bears_its_tag(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            tag = f"{cls.union}.{cls.__name__}"
            given = data.get("_tag", data.get("tag", tag))
            if given != tag:
                raise ValueError(f"_tag {given!r} is not {tag!r}")
            return {**{key: value for key, value in data.items() if key != "tag"}, "_tag": tag}
        return data

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Return the member of this union that ``data`` is, chosen by its ``_tag``."""
        for kind in cls.__subclasses__():
            if data.get("_tag") == f"{kind.union}.{kind.__name__}":
                return kind.model_validate(data)
        raise ValueError(f"_tag {data.get('_tag')!r} is none of {[kind.__name__ for kind in cls.__subclasses__()]}")


class BatchEvent(Tagged):
    """Something that happened to a batch."""

    union = "BatchEvent"
    timestamp: datetime = Field(default_factory=utc_now)


class BatchCreated(BatchEvent):
    """The batch is stored and work on it begins."""

    total_documents: int


class DocumentStarted(BatchEvent):
    """An attempt at a document has begun; ``document_index`` is its place in the request."""

    document_id: str
    document_index: int


class DocumentCompleted(BatchEvent):
    """A document has its graph."""

    document_id: str
    entity_count: int
    relation_count: int


class DocumentFailed(BatchEvent):
    """A document, or one attempt at it where the orchestrator retries, has failed."""

    document_id: str
    error: str


class StageProgress(BatchEvent):
    """How far a long document is, from 0 to 1."""

    document_id: str
    stage: str
    progress: float = Field(ge=0.0, le=1.0)


class ResolutionStarted(BatchEvent):
    """Entities are being resolved across the documents."""


class ResolutionCompleted(BatchEvent):
    """``merge_count`` entities went into another."""

    merge_count: int


class BatchCompleted(BatchEvent):
    """The batch has ended: at least one document was extracted, or it had no documents."""

    total_documents: int
    entity_count: int
    relation_count: int


class BatchFailed(BatchEvent):
    """The batch has ended without success, or was cancelled."""

    error: str
    failed_documents: int


class ActivityProgress(Payload):
    """Progress of one document's pipeline (CONTRACT 5): 0 started, 1 completed, 0 failed."""

    execution_id: str
    activity_name: str
    status: Literal["started", "completed", "failed"]
    progress: float = Field(ge=0.0, le=1.0)
    message: str
    timestamp: datetime = Field(default_factory=utc_now)
