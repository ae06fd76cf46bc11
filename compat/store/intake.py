"""A request as rows: the batch, its documents and its ontologies, written in one go and read again a few at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Protocol

from sqlalchemy import Connection, select

from compat.contracts import BatchConfig, DocumentInput
from compat.ids import content_hash
from compat.status import RowStatus
from compat.store.database import Database
from compat.store.failures import infrastructure
from compat.store.record import Claim
from compat.store.schema import BatchDocument, BatchExecution, DocumentOutcome, OntologyContent, WorkflowExecution
from compat.store.sql import DOCUMENTS, blocks, insert_or_ignore


class Documents(Sized, Iterable[DocumentInput], Protocol):
    """Documents in the order of the request; they can be read more than once."""


class Request(Protocol):
    """What a batch is claimed with: ``BatchParams``, or the same with documents that are read a few at a time."""

    @property
    def batch_id(self) -> str | None:
        """The batch's id, where the caller chose one."""

    @property
    def organization_id(self) -> str:
        """Whose batch it is."""

    @property
    def ontology_id(self) -> str:
        """What the caller calls the ontology."""

    @property
    def documents(self) -> Documents:
        """The documents, in order."""

    @property
    def config(self) -> BatchConfig:
        """How the batch is worked through."""


@dataclass(frozen=True)
class Rerun:
    """A request for the documents that failed in another batch, ``failed_of``."""

    batch_id: str
    organization_id: str
    ontology_id: str
    documents: Documents
    config: BatchConfig
    failed_of: str


def params_hash(params: Request) -> str:
    """Return a hash of all of a request but its batch id: organization, ontology, config, and every document in order."""
    digest = hashlib.sha256()
    for number, part in enumerate(_parts(params)):
        digest.update((content_hash(part) if number == 0 else "\n" + content_hash(part)).encode())
    return digest.hexdigest()


def _parts(params: Request) -> Iterator[str]:
    yield from (params.organization_id, params.ontology_id, params.config.model_dump_json())
    ontologies: dict[str, str] = {}
    for document in params.documents:
        if document.ontology_content not in ontologies:
            ontologies[document.ontology_content] = content_hash(document.ontology_content)
        yield from (document.document_id, content_hash(document.text), ontologies[document.ontology_content])


def insert_batch(connection: Connection, params: Request, claim: Claim) -> None:
    """Write the claimed batch's rows as pending, its documents, and the ontologies that aren't stored yet."""
    config = params.config
    document_ids = insert_documents(connection, params, claim.batch_id)
    connection.execute(
        BatchExecution.__table__.insert(),  # type: ignore[attr-defined]
        {
            "id": claim.batch_id,
            "organization_id": params.organization_id,
            "status": RowStatus.PENDING.value,
            "ontology_id": params.ontology_id,
            "document_ids": document_ids,
            "total_documents": len(document_ids),
            "concurrency": config.concurrency,
            "failure_policy": config.failure_policy.value,
            "max_retries": config.max_retries,
            "enable_entity_resolution": config.enable_entity_resolution,
            "config": config.model_dump(mode="json"),
        },
    )
    connection.execute(
        WorkflowExecution.__table__.insert(),  # type: ignore[attr-defined]
        {
            "id": claim.execution_id,
            "organization_id": params.organization_id,
            "status": RowStatus.PENDING.value,
            "workflow_type": "batch_extraction",
            "input": {
                "batchId": claim.batch_id,
                "totalDocuments": len(document_ids),
                "concurrency": config.concurrency,
                "failurePolicy": config.failure_policy.value,
                "executionMode": claim.mode.value,
            },
        },
    )


def insert_documents(connection: Connection, params: Request, batch_id: str) -> list[str]:
    """Write the documents, and the ontologies that aren't stored yet. Return the documents' ids in their order."""
    document_ids: list[str] = []
    hashes: dict[str, str] = {}

    def row(position: int, document: DocumentInput) -> dict[str, Any]:
        if document.ontology_content not in hashes:
            hashes[document.ontology_content] = content_hash(document.ontology_content)
            ontology = {"hash": hashes[document.ontology_content], "content": document.ontology_content}
            insert_or_ignore(connection, OntologyContent, ontology)
        document_ids.append(document.document_id)
        return {
            "batch_id": batch_id,
            "position": position,
            "document_id": document.document_id,
            "text": document.text,
            "content_hash": content_hash(document.text),
            "ontology_hash": hashes[document.ontology_content],
        }

    for rows in blocks(starmap(row, enumerate(params.documents))):
        insert_or_ignore(connection, BatchDocument, *rows)
    return document_ids


@dataclass(frozen=True)
class StoredDocuments:
    """The documents of a stored request, which are read again each time, a few of them in memory."""

    database: Database
    batch_id: str
    count: int
    only_failed: bool = False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[DocumentInput]:
        query = (
            select(BatchDocument.position, BatchDocument.document_id, BatchDocument.text, OntologyContent.content)
            .join(OntologyContent, OntologyContent.hash == BatchDocument.ontology_hash)
            .where(BatchDocument.batch_id == self.batch_id)
            .order_by(BatchDocument.position)
            .limit(DOCUMENTS)
        )
        if self.only_failed:
            outcome = (DocumentOutcome.batch_id == self.batch_id) & (DocumentOutcome.document_id == BatchDocument.document_id)
            query = query.join(DocumentOutcome, outcome).where(DocumentOutcome.outcome == "failed")
        position = -1
        while True:
            with infrastructure(self.batch_id, "batch_get_status"), self.database.read() as connection:
                rows = connection.execute(query.where(BatchDocument.position > position)).all()
            for row in rows:
                # As it came in; it was checked then.
                yield DocumentInput.model_construct(document_id=row.document_id, text=row.text, ontology_content=row.content)
                position = row.position
            if not rows:
                return


@dataclass(frozen=True)
class StoredRequest:
    """A request as it is stored."""

    batch_id: str
    organization_id: str
    ontology_id: str
    documents: StoredDocuments
    config: BatchConfig
