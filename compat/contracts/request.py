"""The request (CONTRACT 2): what ``run_batch`` takes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from compat.contracts.payload import Id, Payload, PlainText, problems_of
from compat.errors import InvalidInputError


class FailurePolicy(StrEnum):
    """What a failed document does to the rest of its batch (CONTRACT 4)."""

    CONTINUE = "continue-on-failure"
    ABORT_ALL = "abort-all"
    RETRY_FAILED = "retry-failed"


class BatchConfig(Payload):
    """How a batch is worked through."""

    concurrency: int = Field(3, ge=1, le=20, strict=True, description="Documents in work at the same time, 1 to 20.")
    failure_policy: FailurePolicy = Field(
        FailurePolicy.CONTINUE, description="What a failed document does to the rest of the batch."
    )
    max_retries: int = Field(
        2, ge=0, le=1000, strict=True, description="Extra rounds for failed documents under retry-failed, 0 to 1,000."
    )
    enable_entity_resolution: bool = Field(
        True, strict=True, description="Whether entities that mean the same are merged across documents."
    )


class DocumentInput(Payload):
    """One document and the ontology (Turtle) that it is read by."""

    document_id: Id
    text: PlainText
    ontology_content: PlainText


class BatchParams(Payload):
    """What ``run_batch`` takes. Without a batch id one is made."""

    batch_id: Id | None = None
    organization_id: Id
    ontology_id: Id
    documents: tuple[DocumentInput, ...]
    config: BatchConfig = BatchConfig()

    @model_validator(mode="after")
    def _document_ids_are_unique(self) -> Self:
        seen: set[str] = set()
        for document in self.documents:
            if document.document_id in seen:
                raise ValueError(f"documentId {document.document_id!r} stands twice; give every document an id of its own")
            seen.add(document.document_id)
        return self

    @classmethod
    def parse(cls, params: "BatchParams | Mapping[str, Any]") -> "BatchParams":
        """Return validated params. Raise InvalidInputError, which names every field at fault, its value and its bound."""
        if isinstance(params, cls):
            return params
        try:
            return cls.model_validate(params)
        except ValidationError as error:
            raise InvalidInputError(problems_of(error)) from None
