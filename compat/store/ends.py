"""The end of a batch as rows: the terminal event, then the terminal status, once; and no row of it stays `running`."""

from sqlalchemy import Connection, select, update

from compat.contracts import BatchCompleted, BatchEvent, BatchFailed, utc_now
from compat.fault_points import fault_point
from compat.ids import document_execution_id
from compat.policy import CANCELLED_BY_USER
from compat.status import SKIPPED, TERMINAL, RowStatus
from compat.store import events
from compat.store.record import BatchRecord
from compat.store.schema import BatchExecution, BatchRun, DocumentOutcome, WorkflowActivity, WorkflowExecution
from compat.store.sql import IDS, blocks


def end(connection: Connection, run: BatchRecord, status: RowStatus, error: str | None) -> RowStatus:
    """Write the terminal event, then the terminal rows, unless the batch has ended: the first terminal status stands."""
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
    fault_point("terminal-event-written")
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
        .values(status=status, error=error, completed_at=now, **run.counts)
    )
    connection.execute(
        update(WorkflowExecution)
        .where(WorkflowExecution.id == run.execution_id)
        .values(status=status, error=error, completed_at=now, output=output)
    )
    connection.execute(update(BatchRun).where(BatchRun.batch_id == run.batch_id).values(holder_token=None))
    close_rows(connection, run.batch_id, status, error)
    return status


def end_abandoned(connection: Connection, run: BatchRecord, reason: str) -> RowStatus:
    """End a batch whose holder is gone: as cancelled where that was asked for, else as failed."""
    if run.cancel_requested:
        return end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)
    return end(connection, run, RowStatus.FAILED, reason)


def close_rows(connection: Connection, batch_id: str, status: RowStatus, reason: str | None) -> None:
    """Let no row of the batch's documents stay `running`, where nobody works on the batch any more.

    The row of an attempt that was cut off says `skipped`. Its document's row says `cancelled` of a cancelled batch, else
    `failed`; the row of a document with an outcome, which lost its own last write, says what the outcome says.
    """
    without = RowStatus.CANCELLED if status == RowStatus.CANCELLED else RowStatus.FAILED
    reason = reason or "the batch ended before this document did"
    now = utc_now()
    # Few rows are running at a time, of whatever batch, unless dead batches left many.
    query = select(WorkflowExecution.id).where(
        WorkflowExecution.workflow_type == "extraction", WorkflowExecution.status == RowStatus.RUNNING
    )
    running = set(connection.execute(query.limit(IDS + 1)).scalars())
    outcomes = select(DocumentOutcome.document_id, DocumentOutcome.outcome).where(DocumentOutcome.batch_id == batch_id)
    if not running:
        outcomes = outcomes.where(DocumentOutcome.outcome.is_(None))
    for some in blocks(connection.execute(outcomes), IDS):
        found = {document_execution_id(batch_id, row.document_id): row.outcome for row in some}
        cut_off = [execution_id for execution_id, outcome in found.items() if outcome is None]
        connection.execute(
            update(WorkflowActivity)
            .where(WorkflowActivity.execution_id.in_(cut_off), WorkflowActivity.status == RowStatus.RUNNING)
            .values(status=SKIPPED, error=reason, completed_at=now)
        )
        if len(running) > IDS:
            running_here = set(connection.execute(query.where(WorkflowExecution.id.in_(found))).scalars())
        else:
            running_here = running & found.keys()
        for execution_id in running_here:
            ended = {"succeeded": RowStatus.COMPLETED, "failed": RowStatus.FAILED}.get(found[execution_id], without)
            connection.execute(
                update(WorkflowExecution)
                .where(WorkflowExecution.id == execution_id)
                .values(status=ended, error=None if ended == RowStatus.COMPLETED else reason, completed_at=now)
            )
