"""What a person is shown of a batch: how it stands, why it runs as it does, and its first documents, failures before the rest."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from compat.contracts import utc_now
from compat.errors import BatchNotFoundError, StoredError
from compat.store.database import Database
from compat.store.reading import document_execution_id, infrastructure, run_query
from compat.store.schema import BatchExecution, DocumentOutcome, WorkflowExecution


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
    """A batch at a moment: ``seconds`` from its start to its end or to now, and its first ``documents`` that have an outcome."""

    batch_id: str
    status: str
    mode: str
    reason: str
    rolled_back_from: str | None
    total_documents: int
    completed_documents: int
    failed_documents: int
    entity_count: int
    relation_count: int
    seconds: float
    error: str | None
    documents: tuple[DocumentLine, ...]

    @property
    def done(self) -> int:
        """Documents with an outcome."""
        return self.completed_documents + self.failed_documents


def overview(database: Database, batch_id: str, most: int = 100) -> Overview:
    """The batch with at most ``most`` of its documents. Raises BatchNotFoundError, or BatchInfrastructureError."""
    moments = select(BatchExecution.started_at, BatchExecution.completed_at).where(BatchExecution.id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        run = connection.execute(run_query(batch_id)).first()
        if run is None:
            raise BatchNotFoundError(batch_id)
        started_at, completed_at = connection.execute(moments).one()
        documents = _documents(connection, batch_id, most) if most else ()
    return Overview(
        batch_id=batch_id,
        status=run.status,
        mode=run.mode,
        reason=run.mode_reason,
        rolled_back_from=run.rolled_back_from,
        total_documents=run.total_documents,
        completed_documents=run.completed_documents,
        failed_documents=run.failed_documents,
        entity_count=run.entity_count,
        relation_count=run.relation_count,
        seconds=_seconds(started_at, completed_at),
        error=run.error,
        documents=documents,
    )


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


def _seconds(started_at: datetime | None, completed_at: datetime | None) -> float:
    return 0.0 if started_at is None else ((completed_at or utc_now()) - started_at).total_seconds()
