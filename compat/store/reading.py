"""What is stored of batches, read only: where one stands, what came of it, which there are."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Text, cast, func, literal, select

from compat.contracts import (
    BatchConfig,
    BatchResult,
    BatchState,
    BatchSummary,
    DocumentResult,
    ExtractionResult,
    Failure,
    Success,
    utc_now,
)
from compat.errors import ActivityFailedError, BatchNotFoundError
from compat.ids import content_hash, document_execution_id, extraction_id
from compat.policy import ACTIVITY_NAME
from compat.status import RowStatus
from compat.store import record
from compat.store.database import Database
from compat.store.failures import infrastructure
from compat.store.intake import StoredDocuments, StoredRequest
from compat.store.record import BatchRecord
from compat.store.schema import (
    BatchDocument,
    BatchExecution,
    BatchRun,
    CanonicalRow,
    DocumentOutcome,
    Utc,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import DOCUMENTS, pages
from compat.stored_errors import StoredError


@dataclass(frozen=True)
class StoredExtraction:
    """One document's extraction and what is known of its making."""

    extraction_id: str
    document_id: str
    organization_id: str
    started_at: datetime
    ended_at: datetime
    result: ExtractionResult


@dataclass(frozen=True)
class Attempt:
    """One attempt on record: its number within its generation, from 1, and how its row stands."""

    number: int
    generation: int
    status: str


@dataclass(frozen=True)
class DocumentAttempts:
    """A document's attempts on record, beside what its outcome and its own row say of them.

    ``counted`` are the finished attempts of this ``generation`` by the outcome; ``owner`` is None where the
    document's own row, which is best effort, is missing.
    """

    batch_id: str
    document_id: str
    execution_id: str
    config: BatchConfig
    owner: str | None
    outcome: str | None
    generation: int
    counted: int
    attempts: tuple[Attempt, ...]

    def by_generation(self) -> dict[int, list[Attempt]]:
        """Return the attempts under each budget: a resume gives a failed document its budget anew."""
        generations: dict[int, list[Attempt]] = {}
        for attempt in self.attempts:
            generations.setdefault(attempt.generation, []).append(attempt)
        return generations


class Reader:
    """The batches of one database, read only. ``lease_seconds`` is how long a batch's holder may be silent."""

    def __init__(self, database: Database, lease_seconds: float = 60.0) -> None:
        self.database = database
        self.lease_seconds = lease_seconds

    def batch(self, batch_id: str) -> BatchRecord:
        """Return the batch as its rows tell it now.

        Raises BatchNotFoundError, and BatchInfrastructureError (``batch_get_status``) where the database fails.
        """
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            return record.find(connection, batch_id, self.lease_seconds)

    def state(self, batch_id: str) -> BatchState:
        """Return where the batch stands. A batch whose holder died is reported as failed, even if its row says otherwise.

        Raises what ``batch`` raises.
        """
        return self.batch(batch_id).state

    def has_ended(self, batch_id: str) -> bool:
        """Return whether the batch's row has a terminal status. Raises BatchNotFoundError."""
        return self.batch(batch_id).ended

    def config(self, batch_id: str) -> BatchConfig:
        """Return how the batch is worked through. Raises BatchNotFoundError."""
        return self.batch(batch_id).config

    def unfinished(self) -> list[BatchRecord]:
        """Return the batches without a terminal status, the oldest first."""
        with self.database.read() as connection:
            return record.unfinished(connection, self.lease_seconds)

    def result(self, batch_id: str) -> BatchResult:
        """Return the BatchResult of the present outcomes, in the order of the request, without documents that have none."""
        outcome = DocumentOutcome
        query = (
            # The extraction as text, which becomes the model in one step.
            select(outcome.document_id, outcome.outcome, cast(outcome.extraction, Text).label("extraction"), *_ERROR)
            .where(outcome.batch_id == batch_id, outcome.outcome.is_not(None))
            .order_by(outcome.position)
        )
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection, _collector_paused():
            record.find(connection, batch_id, self.lease_seconds)
            documents = [
                DocumentResult(
                    document_id=row.document_id,
                    result=Success(extraction=ExtractionResult.model_validate_json(row.extraction))
                    if row.outcome == "succeeded"
                    else Failure(error=_stored_error(row).text),
                )
                for row in connection.execute(query)
            ]
        graphs = [document.result.extraction.graph for document in documents if isinstance(document.result, Success)]
        return BatchResult(
            batch_id=batch_id,
            document_results=tuple(documents),
            total_documents=len(documents),
            success_count=len(graphs),
            failure_count=len(documents) - len(graphs),
            entity_count=sum(len(graph.entities) for graph in graphs),
            relation_count=sum(len(graph.relations) for graph in graphs),
        )

    def extractions(self, batch_id: str) -> Iterator[StoredExtraction]:
        """Yield the extracted documents in the order of the request, a block in memory at a time. Raises BatchNotFoundError."""
        query = (
            select(DocumentOutcome, BatchRun.organization_id)
            .join(BatchRun, BatchRun.batch_id == DocumentOutcome.batch_id)
            .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome == "succeeded")
            .order_by(DocumentOutcome.position)
            .limit(DOCUMENTS)
        )
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            record.find(connection, batch_id, self.lease_seconds)
            # Block by block: a cursor in the database would want a transaction as long as the caller takes.
            rows = connection.execute(query).all()
            while rows:
                for row in rows:
                    yield StoredExtraction(
                        extraction_id=extraction_id(batch_id, row.document_id),
                        document_id=row.document_id,
                        organization_id=row.organization_id,
                        started_at=row.started_at,
                        ended_at=row.ended_at,
                        result=ExtractionResult.model_validate(row.extraction),
                    )
                rows = connection.execute(query.where(DocumentOutcome.position > rows[-1].position)).all()

    def extracted(
        self, organization_id: str, ontology_hash: str, content_hashes: Sequence[str], batch_id: str | None
    ) -> set[str]:
        """Return those of the contents that an older batch of the organization has extracted with this ontology.

        Older than the batch named, where it is there already: asked again, it gets the same answer.
        """
        own = select(BatchRun.created_at).where(BatchRun.batch_id == batch_id).scalar_subquery()
        query = (
            select(BatchDocument.content_hash)
            .join(
                DocumentOutcome,
                (DocumentOutcome.batch_id == BatchDocument.batch_id) & (DocumentOutcome.document_id == BatchDocument.document_id),
            )
            .join(BatchRun, BatchRun.batch_id == BatchDocument.batch_id)
            .where(BatchDocument.content_hash.in_(content_hashes), BatchDocument.ontology_hash == ontology_hash)
            .where(DocumentOutcome.outcome == "succeeded", BatchRun.organization_id == organization_id)
            .where(BatchRun.created_at < func.coalesce(own, literal(utc_now(), Utc)))
        )
        with infrastructure(batch_id or "(new)", "batch_create_execution"), self.database.read() as connection:
            return set(connection.execute(query).scalars())

    def request(self, batch_id: str) -> StoredRequest:
        """Return the request that the batch was started with. Raises BatchNotFoundError."""
        batch = self.batch(batch_id)
        documents = StoredDocuments(self.database, batch_id, batch.total_documents)
        return StoredRequest(batch_id, batch.organization_id, batch.ontology_id, documents, batch.config)

    def ontologies_hash(self, batch_id: str) -> str:
        """Return a hash of the batch's ontologies."""
        query = select(BatchDocument.ontology_hash).where(BatchDocument.batch_id == batch_id).distinct()
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            return content_hash("\n".join(sorted(connection.execute(query).scalars())))

    def failures(self, batch_id: str, most: int | None = None) -> dict[str, ActivityFailedError]:
        """Failed documents by id, all or the first of them. The extractor's error is an error's ``__cause__``."""
        query = select(DocumentOutcome).where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome == "failed")
        found = {}
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            for row in connection.execute(query.order_by(DocumentOutcome.position).limit(most)):
                error = _stored_error(row)
                execution_id = document_execution_id(batch_id, row.document_id)
                found[row.document_id] = ActivityFailedError(execution_id, ACTIVITY_NAME, row.attempts, error.text)
                found[row.document_id].__cause__ = error.restore()
        return found

    def attempts(self, batch_id: str | None = None) -> Iterator[DocumentAttempts]:
        """Yield the attempts of every document, of one batch or of all, batch by batch. Raises BatchNotFoundError."""
        batches = select(BatchExecution.id, BatchExecution.config).order_by(BatchExecution.created_at, BatchExecution.id)
        if batch_id is not None:
            batches = batches.where(BatchExecution.id == batch_id)
        with infrastructure(batch_id or "all batches", "batch_get_status"), self.database.read() as connection:
            found = connection.execute(batches).all()
            if batch_id is not None and not found:
                raise BatchNotFoundError(batch_id)
            for batch in found:
                yield from _attempts(connection, batch.id, BatchConfig.model_validate(batch.config))

    def summaries(self, limit: int = 50) -> list[BatchSummary]:
        """Return the newest batches first. One whose holder died is reported as failed."""
        with self.database.read() as connection:
            batches = record.newest(connection, self.lease_seconds, limit)
            merged = select(CanonicalRow.batch_id, func.count()).where(CanonicalRow.batch_id.in_(b.batch_id for b in batches))
            canonical = dict(connection.execute(merged.group_by(CanonicalRow.batch_id)).tuples().all())
        return [
            BatchSummary(
                batch_id=batch.batch_id,
                organization_id=batch.organization_id,
                ontology_id=batch.ontology_id,
                mode=batch.mode,
                status=RowStatus.FAILED if batch.dead else batch.status,
                total_documents=batch.total_documents,
                completed_documents=batch.completed_documents,
                failed_documents=batch.failed_documents,
                entity_count=batch.entity_count,
                canonical_entity_count=canonical.get(batch.batch_id),
                relation_count=batch.relation_count,
                created_at=batch.created_at,
                completed_at=batch.completed_at,
                error=batch.interrupted if batch.dead else batch.error,
            )
            for batch in batches
        ]


def _attempts(connection: Connection, batch_id: str, config: BatchConfig) -> Iterator[DocumentAttempts]:
    columns = ("document_id", "outcome", "generation", "attempts", "position")
    tried = select(*(getattr(DocumentOutcome, name) for name in columns)).where(DocumentOutcome.batch_id == batch_id)
    # Outcomes before attempts: in a batch that runs, what has an outcome here gets no further attempt.
    for some in pages(connection, tried, DocumentOutcome.position):
        block = {document_execution_id(batch_id, row.document_id): row for row in some}
        rows = select(WorkflowExecution.id, WorkflowExecution.input["retryOwner"].as_string().label("owner"))
        owners = {row.id: row.owner for row in connection.execute(rows.where(WorkflowExecution.id.in_(block)))}
        made: dict[str, list[Attempt]] = {}
        activities = select(
            WorkflowActivity.execution_id,
            WorkflowActivity.attempt,
            WorkflowActivity.status,
            WorkflowActivity.input["generation"].as_integer().label("generation"),
        ).where(WorkflowActivity.execution_id.in_(block), WorkflowActivity.activity_name == ACTIVITY_NAME)
        for row in connection.execute(activities.order_by(WorkflowActivity.created_at, WorkflowActivity.attempt)):
            made.setdefault(row.execution_id, []).append(Attempt(row.attempt, row.generation, row.status))
        for execution_id, row in block.items():
            yield DocumentAttempts(
                batch_id=batch_id,
                document_id=row.document_id,
                execution_id=execution_id,
                config=config,
                owner=owners.get(execution_id),
                outcome=row.outcome,
                generation=row.generation,
                counted=row.attempts,
                attempts=tuple(made.get(execution_id, ())),
            )


_ERROR = (
    DocumentOutcome.error_class,
    DocumentOutcome.error_message,
    DocumentOutcome.error_terminal,
    DocumentOutcome.error_args,
)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Make many objects that all stay, without Python looking through them time and again for some that may go."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _stored_error(row: Row[Any]) -> StoredError:
    return StoredError(row.error_class, row.error_message, row.error_terminal, tuple(row.error_args or ()))
