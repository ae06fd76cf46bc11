"""Whether a batch can be compared at all, and how its old shadow is deleted."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from compat.errors import BatchAlreadyRunningError, BatchNotFoundError
from compat.ids import document_execution_id, extraction_id
from compat.modes import Mode
from compat.policy import ALL_FAILED, INTERRUPTED
from compat.status import RowStatus
from compat.store import BatchRecord, Store, record
from compat.store.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    TapeRow,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import pages


def why_not(batch: BatchRecord) -> str | None:
    """Return why a batch can't be compared with the engine: the engine took part in it, or it didn't run to its end."""
    if not batch.ended:
        return "it has not ended"
    if Mode.ENGINE in (batch.mode, batch.rolled_back_from):
        return "the engine had a hand in it, and can't be compared with itself"
    if batch.status == RowStatus.CANCELLED:
        return "it was cancelled"
    if batch.status == RowStatus.FAILED and batch.error != ALL_FAILED:
        return f"it did not run to its end: {batch.error}"
    return None


def is_resumed(store: Store, before: BatchRecord) -> bool:
    """Return whether the batch was taken up again since ``before`` was read."""
    now = store.batch(before.batch_id)
    return (now.generation, now.holder_token) != (before.generation, before.holder_token)


def ended_early(store: Store, batch_id: str) -> str | None:
    """Return why a shadow run ended early, or None if it ran to its end or is no longer stored."""
    try:
        batch = store.batch(batch_id)
    except BatchNotFoundError:
        return None
    return str(batch.error) if batch.cancel_requested or str(batch.error).startswith(INTERRUPTED) else None


def documents_hash(store: Store, batch_id: str) -> str:
    """Return a hash of a batch's documents: of their texts and ontologies, whatever ids and order they have."""
    query = select(BatchDocument.content_hash, BatchDocument.ontology_hash).where(BatchDocument.batch_id == batch_id)
    digest = hashlib.sha256()
    with store.database.stream() as connection:
        for row in connection.execute(query.order_by(BatchDocument.content_hash, BatchDocument.ontology_hash)):
            digest.update(f"{row.content_hash} {row.ontology_hash}\n".encode())
    return digest.hexdigest()


def clear(store: Store, batch_id: str) -> None:
    """Delete a batch from the shadow namespace, so that its next shadow run starts afresh.

    Raises BatchAlreadyRunningError where a shadow of it is at work.
    """
    with store.database.write() as connection:
        try:
            batch = record.find(connection, batch_id, store.lease_seconds, lock=True)
        except BatchNotFoundError:
            return
        if not (batch.ended or batch.dead):
            raise BatchAlreadyRunningError(batch_id)
        query = select(BatchDocument.document_id, BatchDocument.position).where(BatchDocument.batch_id == batch_id)
        for page in pages(connection, query, BatchDocument.position):
            _clear_documents(connection, batch_id, [row.document_id for row in page])
        connection.execute(delete(WorkflowExecution).where(WorkflowExecution.id == batch.execution_id))
        connection.execute(delete(BatchExecution).where(BatchExecution.id == batch_id))
        for table in (DocumentOutcome, BatchEventRow, BatchDocument, TapeRow, BatchRun):
            connection.execute(delete(table).where(table.batch_id == batch_id))


def _clear_documents(connection: Connection, batch_id: str, documents: Sequence[str]) -> None:
    executions = [document_execution_id(batch_id, document_id) for document_id in documents]
    extractions = [extraction_id(batch_id, document_id) for document_id in documents]
    connection.execute(delete(MentionRecord).where(MentionRecord.extraction_id.in_(extractions)))
    connection.execute(delete(WorkflowActivity).where(WorkflowActivity.execution_id.in_(executions)))
    connection.execute(delete(WorkflowExecution).where(WorkflowExecution.id.in_(executions)))
