"""What a person is shown of a batch: how it stands, why it runs as it does, and its first documents, failures before the rest."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from compat.contracts import BatchConfig
from compat.errors import InvalidInputError, Problem
from compat.ids import document_execution_id
from compat.store import Store
from compat.store.failures import infrastructure
from compat.store.intake import Rerun, StoredDocuments
from compat.store.record import BatchRecord
from compat.store.schema import BatchRun, DocumentOutcome, WorkflowExecution
from compat.stored_errors import StoredError, is_terminal


@dataclass(frozen=True)
class DocumentLine:
    """One document with an outcome. Counts are None where it failed, ``error`` is None where it didn't."""

    document_id: str
    attempts: int
    entity_count: int | None
    relation_count: int | None
    error: str | None


@dataclass(frozen=True)
class Overview:
    """A batch, and those of its ``documents`` with an outcome that are shown."""

    batch: BatchRecord
    documents: tuple[DocumentLine, ...]


def overview(store: Store, batch_id: str, most: int = 100) -> Overview:
    """Return the batch with at most ``most`` of its documents. Raises BatchNotFoundError, or BatchInfrastructureError."""
    batch = store.batch(batch_id)
    with infrastructure(batch_id, "batch_get_status"), store.database.read() as connection:
        return Overview(batch, _documents(connection, batch_id, most))


def rerun_of_failed(store: Store, batch_id: str, new_batch_id: str, config: BatchConfig) -> Rerun:
    """Return a request for the documents that failed in a batch, with the texts and ontologies that it had.

    Raises BatchNotFoundError, and InvalidInputError where the batch has not ended or no document failed.
    """
    batch = store.batch(batch_id)
    if not batch.ended:
        advice = f"is {batch.status}; wait for its end: knowledge-batch events {batch_id} --follow"
        raise InvalidInputError([Problem("--failed-of", batch_id, advice)])
    failed = StoredDocuments(store.database, batch_id, batch.failed_documents, only_failed=True)
    if not len(failed):
        raise InvalidInputError([Problem("--failed-of", batch_id, "has no failed document, so there is nothing to run again")])
    return Rerun(new_batch_id, batch.organization_id, batch.ontology_id, failed, config, batch_id)


@dataclass(frozen=True)
class Reruns:
    """The batch whose failed documents a batch repeats, and the batches that repeat its own."""

    failed_of: str | None
    rerun_by: tuple[str, ...]


def reruns(store: Store, batch_id: str) -> Reruns:
    """Return how a batch is linked to others."""
    of = select(BatchRun.failed_of).where(BatchRun.batch_id == batch_id)
    by = select(BatchRun.batch_id).where(BatchRun.failed_of == batch_id).order_by(BatchRun.created_at)
    with infrastructure(batch_id, "batch_get_status"), store.database.read() as connection:
        return Reruns(connection.execute(of).scalar(), tuple(connection.execute(by).scalars()))


def can_change(store: Store, batch: BatchRecord, most: int = 1000) -> bool:
    """Return whether a resume can change a batch that failed.

    It can't where every document was tried and failed of what another attempt can't change, as far as the first ``most`` tell.
    """
    if not 0 < batch.failed_documents == batch.finished_documents == batch.total_documents:
        return True
    causes = [failure.__cause__ for failure in store.failures(batch.batch_id, most).values()]
    return not all(cause is not None and is_terminal(cause) for cause in causes)


def _documents(connection: Connection, batch_id: str, most: int) -> tuple[DocumentLine, ...]:
    columns = (
        DocumentOutcome.document_id,
        DocumentOutcome.outcome,
        DocumentOutcome.attempts,
        DocumentOutcome.error_class,
        DocumentOutcome.error_message,
    )
    tried = select(*columns).where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome.is_not(None))
    # "failed" sorts before "succeeded".
    rows = connection.execute(tried.order_by(DocumentOutcome.outcome, DocumentOutcome.position).limit(most)).all()
    ids = {row.document_id: document_execution_id(batch_id, row.document_id) for row in rows}
    counted = select(WorkflowExecution.id, WorkflowExecution.output).where(WorkflowExecution.id.in_(ids.values()))
    outputs = {key: output or {} for key, output in connection.execute(counted).tuples()}
    lines = []
    for row in rows:
        # A document's own row is best effort.
        output = outputs.get(ids[row.document_id], {}) if row.outcome == "succeeded" else {}
        error = StoredError(row.error_class, row.error_message, True).text if row.outcome == "failed" else None
        lines.append(DocumentLine(row.document_id, row.attempts, output.get("entityCount"), output.get("relationCount"), error))
    return tuple(lines)
