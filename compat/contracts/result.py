"""What came of a batch (CONTRACT 3)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from compat.contracts.extraction import ExtractionResult
from compat.contracts.payload import Payload


class Success(Payload):
    """A document that has its graph."""

    ok: Literal[True] = True
    extraction: ExtractionResult


class Failure(Payload):
    """A document that has none. ``error`` is ``ClassName: message`` of its last attempt."""

    ok: Literal[False] = False
    error: str


class DocumentResult(Payload):
    """One document's outcome."""

    document_id: str
    result: Annotated[Success | Failure, Field(discriminator="ok")]


class BatchResult(Payload):
    """What ``run_batch`` returns. Under abort-all ``total_documents`` counts the documents attempted, not those asked for."""

    batch_id: str
    document_results: tuple[DocumentResult, ...]
    total_documents: int
    success_count: int
    failure_count: int
    entity_count: int
    relation_count: int

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Its documents would fill many screens.
        return [each for each in super().__repr_args__() if each[0] != "document_results"]


class BatchStarted(Payload):
    """What ``start_batch`` returns."""

    batch_id: str
    total_documents: int


class BatchCancelled(Payload):
    """What ``cancel_batch`` returns."""

    batch_id: str
    cancelled: Literal[True] = True


class BatchSummary(Payload):
    """One line of ``list_batches``.

    ``entity_count`` sums over documents; ``canonical_entity_count`` is what they were merged to, None where they aren't.
    """

    batch_id: str
    organization_id: str
    ontology_id: str
    mode: str
    status: str
    total_documents: int
    completed_documents: int
    failed_documents: int
    entity_count: int
    canonical_entity_count: int | None = None
    relation_count: int
    created_at: datetime
    completed_at: datetime | None
    error: str | None
