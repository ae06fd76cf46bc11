"""The end of a batch as rows: the terminal event, then the terminal status, once."""

from sqlalchemy import Connection, update

from compat.contracts import BatchCompleted, BatchEvent, BatchFailed, utc_now
from compat.policy import CANCELLED_BY_USER
from compat.status import TERMINAL, RowStatus
from compat.store import events
from compat.store.record import BatchRecord
from compat.store.schema import BatchExecution, BatchRun, WorkflowExecution


def end(connection: Connection, run: BatchRecord, status: RowStatus, error: str | None) -> RowStatus:
    """The terminal event, then the terminal rows, unless the batch has ended: the first terminal status stands."""
    if run.ended:
        return RowStatus(run.status)
    attempted = run.finished_documents
    event: BatchEvent
    if status == RowStatus.COMPLETED:
        event = BatchCompleted(
            batch_id=run.batch_id, total_documents=attempted, entity_count=run.entity_count, relation_count=run.relation_count
        )
    else:
        failed = 0 if status == RowStatus.CANCELLED else run.failed_documents
        event = BatchFailed(batch_id=run.batch_id, error=error or "", failed_documents=failed)
    events.emit(connection, f"end:{run.generation}", event)
    now = utc_now()
    output = {
        "batchId": run.batch_id,
        "totalDocuments": attempted,
        "successCount": run.completed_documents,
        "failureCount": run.failed_documents,
        "entityCount": run.entity_count,
        "relationCount": run.relation_count,
    }
    connection.execute(
        update(BatchExecution)
        .where(BatchExecution.id == run.batch_id, BatchExecution.status.not_in(TERMINAL))
        .values(status=status, error=error, completed_at=now)
    )
    connection.execute(
        update(WorkflowExecution)
        .where(WorkflowExecution.id == run.execution_id)
        .values(status=status, error=error, completed_at=now, output=output)
    )
    connection.execute(update(BatchRun).where(BatchRun.batch_id == run.batch_id).values(holder_token=None))
    return status


def end_abandoned(connection: Connection, run: BatchRecord, reason: str) -> RowStatus:
    """End a batch whose holder is gone: as cancelled where that was asked for, else as failed."""
    if run.cancel_requested:
        return end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)
    return end(connection, run, RowStatus.FAILED, reason)
