"""The grounds of a comparison: how a batch was served, and how an old shadow is cleared away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from compat.errors import BatchAlreadyRunningError, BatchNotFoundError
from compat.modes import Mode
from compat.policy import ALL_FAILED, INTERRUPTED
from compat.status import TERMINAL, RowStatus
from compat.store.reading import BLOCK, Reader, document_execution_id, extraction_id, run_query
from compat.store.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    WorkflowActivity,
    WorkflowExecution,
)


@dataclass(frozen=True)
class Served:
    """How a batch was served: the grounds on which an engine may be compared with it.

    ``why_not`` says why it is no ground: the engine had a hand in it, or it did not run to its end.
    """

    generation: int
    holder_token: str | None
    why_not: str | None


def served(store: Reader, batch_id: str) -> Served:
    """How a batch was served. Raises BatchNotFoundError."""
    with store.database.read() as connection:
        run = connection.execute(run_query(batch_id)).first()
    if run is None:
        raise BatchNotFoundError(batch_id)
    return Served(run.generation, run.holder_token, _why_not(run))


def ended_early(store: Reader, batch_id: str) -> str | None:
    """Why a shadow did not run to its end: somebody ended it. None where it did, or is not there any more."""
    with store.database.read() as connection:
        run = connection.execute(run_query(batch_id)).first()
    if run is None or (run.cancel_requested_at is None and not str(run.error).startswith(INTERRUPTED)):
        return None
    return str(run.error)


def _why_not(run: Row[Any]) -> str | None:
    if run.status not in TERMINAL:
        return "it has not ended"
    if Mode.ENGINE in (run.mode, run.rolled_back_from):
        return "the engine had a hand in it, and can't be compared with itself"
    if run.status == RowStatus.CANCELLED:
        return "it was cancelled: what it left undone is no ground for comparison"
    if run.status == RowStatus.FAILED and run.error != ALL_FAILED:
        return f"it did not run to its end: {run.error}"
    return None


def clear(store: Reader, batch_id: str) -> None:
    """Takes a batch out of a shadow's namespace, so that its next shadow starts from nothing.

    Raises BatchAlreadyRunningError where a shadow of it is at work.
    """
    with store.database.write() as connection:
        run = connection.execute(run_query(batch_id)).first()
        if run is None:
            return
        if run.status not in TERMINAL and not store.is_dead(run.status, run.heartbeat_at):
            raise BatchAlreadyRunningError(batch_id)
        documents = (
            connection.execute(select(BatchDocument.document_id).where(BatchDocument.batch_id == batch_id)).scalars().all()
        )
        for start in range(0, len(documents), BLOCK):
            _clear_documents(connection, batch_id, documents[start : start + BLOCK])
        connection.execute(delete(WorkflowExecution).where(WorkflowExecution.id == run.execution_id))
        connection.execute(delete(BatchExecution).where(BatchExecution.id == batch_id))
        for table in (DocumentOutcome, BatchEventRow, BatchDocument, BatchRun):
            connection.execute(delete(table).where(table.batch_id == batch_id))


def _clear_documents(connection: Connection, batch_id: str, documents: Sequence[str]) -> None:
    executions = [document_execution_id(batch_id, document_id) for document_id in documents]
    extractions = [extraction_id(batch_id, document_id) for document_id in documents]
    connection.execute(delete(MentionRecord).where(MentionRecord.extraction_id.in_(extractions)))
    connection.execute(delete(WorkflowActivity).where(WorkflowActivity.execution_id.in_(executions)))
    connection.execute(delete(WorkflowExecution).where(WorkflowExecution.id.in_(executions)))
