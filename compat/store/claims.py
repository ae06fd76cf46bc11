"""Who holds a batch: claimed once, renewed, resumed, asked to end, ended. Every promise here is a row, never memory."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from compat.contracts import utc_now
from compat.errors import (
    BatchAlreadyRunningError,
    InvalidStateTransitionError,
    LeaseLostError,
    OtherInputError,
)
from compat.fault_points import fault_point
from compat.ids import new_id
from compat.modes import Decision, Mode
from compat.policy import ALL_FAILED, CANCELLED_BY_USER, terminal_status
from compat.status import RowStatus, check_transition
from compat.store import ends, record
from compat.store.database import Database
from compat.store.failures import best_effort, infrastructure
from compat.store.intake import Request, Rerun, insert_batch, params_hash
from compat.store.record import BatchRecord, Claim
from compat.store.schema import IN_FLIGHT, BatchEventRow, BatchExecution, BatchRun, DocumentOutcome, Switch, WorkflowExecution
from compat.store.sql import clock, insert_if_new


@dataclass(frozen=True)
class Signals:
    """What the holder of a batch learns at a heartbeat."""

    held: bool
    cancel_requested: bool
    # Whether a demotion sends what the engine has in work to legacy.
    handed_over: bool = False


_HAND_OVER = select(Switch.name).where(Switch.name == IN_FLIGHT)

# Writes rows of somebody else's in the transaction in which a batch is taken, such as that it is to have a shadow.
Companion = Callable[[Connection, Claim], None]


class Claims:
    """Who holds which batch of one database: taken once, renewed, asked to end, and ended once."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    # --- Claim and resume -------------------------------------------------------------------------------------------

    def claim(
        self, params: Request, decision: Decision, batch_id: str | None = None, companion: Companion | None = None
    ) -> Claim | None:
        """Write the batch, under its own id or the one given, and hold it; None if its result is stored already.

        Exactly one caller wins, across threads, processes and machines: the winner is whoever
        inserts the run's row. What ``companion`` writes comes and goes with the claim; where it fails the batch goes on
        without it. Raises BatchAlreadyRunningError where another one holds it,
        OtherInputError if the id was used with other input, InvalidStateTransitionError where it has ended otherwise, and
        BatchInfrastructureError (``batch_create_execution``) where the database fails.
        """
        batch_id = batch_id or params.batch_id or new_id("knowledge_batch_execution")
        claim = Claim(
            batch_id=batch_id,
            holder_token=uuid.uuid4().hex,
            generation=0,
            organization_id=params.organization_id,
            ontology_id=params.ontology_id,
            execution_id=new_id("knowledge_workflow_execution"),
            mode=decision.mode,
            config=params.config,
        )
        digest = params_hash(params)
        with infrastructure(batch_id, "batch_create_execution"), self._database.write() as connection:
            run_row = {
                "batch_id": batch_id,
                "organization_id": params.organization_id,
                "ontology_id": params.ontology_id,
                "params_hash": digest,
                "execution_id": claim.execution_id,
                "mode": decision.mode.value,
                "mode_reason": decision.reason,
                "holder_token": claim.holder_token,
                "heartbeat_at": clock(),
                **dict.fromkeys(record.COUNTS, 0),
                "failed_of": params.failed_of if isinstance(params, Rerun) else None,
            }
            if insert_if_new(connection, BatchRun, run_row):
                insert_batch(connection, params, claim)
                _write_companion(connection, claim, companion)
                # Many documents take longer to write than a lease lasts.
                connection.execute(update(BatchRun).where(BatchRun.batch_id == batch_id).values(heartbeat_at=clock()))
                fault_point("claim-written")
                return claim
            run = self._locked(connection, batch_id)
            if run.params_hash != digest:
                raise OtherInputError(batch_id, run.state_name)
            _refuse_if_alive(run)
            if run.status == RowStatus.COMPLETED:
                return None
            raise InvalidStateTransitionError(
                batch_id, run.state_name, "Pending", f"go on with it: knowledge-batch resume {batch_id}"
            )

    def resume(self, batch_id: str, decision: Decision, companion: Companion | None = None) -> Claim:
        """Hold a failed batch, or one whose holder is dead, so that the caller can do what is missing.

        Failed documents get a new generation of attempts; the events that no longer hold are
        superseded. Raises BatchNotFoundError, BatchAlreadyRunningError, or
        InvalidStateTransitionError where the batch is completed or cancelled.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self._database.write() as connection:
            run = self._locked(connection, batch_id)
            _refuse_if_alive(run)
            check_transition(batch_id, run.state_name, "Pending")
            if run.cancel_requested:
                raise InvalidStateTransitionError(
                    batch_id, "Cancelled", "Pending", "it was cancelled; start it under a new batch id"
                )
            if not run.ended:
                # Its holder died; those that it left `running` run again, or don't.
                ends.close_rows(connection, batch_id, RowStatus.FAILED, run.interrupted)
            generation, counts = run.generation + 1, {**run.counts, "failed_documents": 0}
            retried = select(DocumentOutcome.document_id).where(
                DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome == "failed"
            )
            # Batch-level events but the first, and all of the documents that run again, tell what is about to change.
            connection.execute(
                update(BatchEventRow)
                .where(BatchEventRow.batch_id == batch_id, BatchEventRow.key != "created")
                .where(BatchEventRow.document_id.is_(None) | BatchEventRow.document_id.in_(retried))
                .values(superseded=True)
            )
            connection.execute(
                update(DocumentOutcome)
                .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome == "failed")
                .values(outcome=None, attempts=0, generation=DocumentOutcome.generation + 1)
            )
            connection.execute(
                update(BatchExecution)
                .where(BatchExecution.id == batch_id)
                .values(status=RowStatus.PENDING, error=None, completed_at=None, **counts)
            )
            connection.execute(update(BatchRun).where(BatchRun.batch_id == batch_id).values(counts))
            row_input = {**run.row_input, "executionMode": decision.mode.value}
            connection.execute(
                update(WorkflowExecution)
                .where(WorkflowExecution.id == run.execution_id)
                .values(status=RowStatus.PENDING, input=row_input, output=None, error=None, completed_at=None)
                .values(last_activity_name=None, retry_count=generation)
            )
            return _take(connection, run, decision, generation, companion)

    def hand_over(self, claim: Claim, to: Mode, reason: str) -> Claim:
        """Hand the batch to another runtime, with a new token that locks the first one out.

        The row's input says ``executionMode``, ``rolledBackFrom`` and ``rollbackReason``. Raises
        LeaseLostError where the claim no longer holds.
        """
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self._database.write() as connection:
            run = self.held_by(connection, claim)
            row_input = {
                **run.row_input,
                "executionMode": to.value,
                "rolledBackFrom": claim.mode.value,
                "rollbackReason": reason,
            }
            connection.execute(update(WorkflowExecution).where(WorkflowExecution.id == run.execution_id).values(input=row_input))
            return _take(connection, run, Decision(to, f"rolled back from {claim.mode}: {reason}"), claim.generation)

    def held_by(self, connection: Connection, claim: Claim) -> BatchRecord:
        """Return the batch, locked until the transaction ends. Raises LeaseLostError where the claim no longer holds."""
        run = self._locked(connection, claim.batch_id)
        if run.holder_token != claim.holder_token or run.ended:
            raise LeaseLostError(claim.batch_id)
        return run

    def _locked(self, connection: Connection, batch_id: str) -> BatchRecord:
        return record.find(connection, batch_id, self._lease_seconds, lock=True)

    # --- Lease ------------------------------------------------------------------------------------------------------

    def heartbeat(self, claim: Claim) -> Signals:
        """Renew the lease and read what others have requested of this batch."""
        with self._database.write() as connection:
            cancel = connection.execute(
                update(BatchRun)
                .where(BatchRun.batch_id == claim.batch_id, BatchRun.holder_token == claim.holder_token)
                .values(heartbeat_at=clock())
                .returning(BatchRun.cancel_requested_at)
            ).first()
            handed_over = claim.mode == Mode.ENGINE and connection.execute(_HAND_OVER).first() is not None
        return Signals(cancel is not None, cancel is not None and cancel[0] is not None, handed_over)

    # --- Ends -------------------------------------------------------------------------------------------------------

    def finish(self, claim: Claim) -> RowStatus:
        """End a batch by its documents' outcomes, or as cancelled if that was requested. Return the row's status.

        Raises LeaseLostError where the claim no longer holds.
        """
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self._database.write() as connection:
            run = self.held_by(connection, claim)
            if run.cancel_requested:
                status = ends.end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)
            else:
                status = RowStatus(terminal_status(run.completed_documents, run.failed_documents))
                ends.end(connection, run, status, ALL_FAILED if status == RowStatus.FAILED else None)
        fault_point("end-committed")
        return status

    def fail(self, claim: Claim, reason: str) -> RowStatus:
        """End a batch whose machinery failed; it can be resumed. A claim that no longer holds changes nothing."""
        return self.abandon(claim.batch_id, claim.holder_token, reason)

    def cancel(self, batch_id: str) -> None:
        """Request the cancellation of a batch. If nobody holds it, it ends at once.

        Raises BatchNotFoundError, or InvalidStateTransitionError where it has ended already.
        """
        with infrastructure(batch_id, "batch_run_dispatch", cancel_again(batch_id)), self._database.write() as connection:
            run = self._locked(connection, batch_id)
            check_transition(batch_id, run.row_state_name, "Cancelled")
            connection.execute(
                update(BatchRun)
                .where(BatchRun.batch_id == batch_id, BatchRun.cancel_requested_at.is_(None))
                .values(cancel_requested_at=utc_now())
            )
            if run.dead:
                ends.end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)

    def reconcile(self, batch_id: str, reason: str | None = None) -> RowStatus:
        """Write the end of a dead batch: failed, or cancelled if that was requested. Return the row's status.

        A live batch is left alone, and so is one that has ended: of many who reconcile, one writes.

        Args:
            batch_id: The batch. Raises BatchNotFoundError.
            reason: What its process ended of, where that is known. Then two missed heartbeats make it dead, not a whole
                lease; one that gives them is in other hands by now, or its process has not ended.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self._database.write() as connection:
            run = self._locked(connection, batch_id)
            if run.ended or not (run.dead or (reason is not None and run.silent)):
                return RowStatus(run.status)
            return ends.end_abandoned(connection, run, reason or run.interrupted)

    def abandon(self, batch_id: str, holder_token: str | None, reason: str) -> RowStatus:
        """End a batch whose holder is known to be gone, before its lease runs out. Return the row's status.

        ``holder_token`` is that holder's; where another one has taken the batch since, nothing is changed.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self._database.write() as connection:
            run = self._locked(connection, batch_id)
            if run.holder_token != holder_token:
                return RowStatus(run.status)
            return ends.end_abandoned(connection, run, reason)

    def note_flow_run(self, claim: Claim, flow_run_id: str) -> None:
        """Store which flow run serves the batch."""
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self._database.write() as connection:
            self.held_by(connection, claim)
            connection.execute(update(BatchRun).where(BatchRun.batch_id == claim.batch_id).values(flow_run_id=flow_run_id))


def cancel_again(batch_id: str) -> str:
    """Return what to do where a cancel could not be stored."""
    return f"see that the database at KNOWLEDGE_DATABASE_URL runs, then cancel it again: knowledge-batch cancel {batch_id}"


def _take(
    connection: Connection, run: BatchRecord, decision: Decision, generation: int, companion: Companion | None = None
) -> Claim:
    token = uuid.uuid4().hex
    connection.execute(
        update(BatchRun)
        .where(BatchRun.batch_id == run.batch_id)
        .values(holder_token=token, heartbeat_at=clock(), generation=generation)
        # Whoever takes the batch serves it in another flow run, or in none.
        .values(mode=decision.mode.value, mode_reason=decision.reason, flow_run_id=None)
        # Also if somebody resumed it elsewhere: a batch that the engine took part in can't be compared.
        .values(rolled_back_from=run.mode if Mode.ENGINE == run.mode != decision.mode else run.rolled_back_from)
    )
    claim = replace(_claim_of(run, token), generation=generation, mode=decision.mode)
    _write_companion(connection, claim, companion)
    fault_point("taking-written")
    return claim


def _write_companion(connection: Connection, claim: Claim, companion: Companion | None) -> None:
    if companion is not None:
        with best_effort(connection, f"batch {claim.batch_id}: what goes with its claim"):
            companion(connection, claim)


def _refuse_if_alive(run: BatchRecord) -> None:
    if not (run.ended or run.dead):
        raise BatchAlreadyRunningError(run.batch_id)


def _claim_of(run: BatchRecord, holder_token: str) -> Claim:
    return Claim(
        batch_id=run.batch_id,
        holder_token=holder_token,
        generation=run.generation,
        organization_id=run.organization_id,
        ontology_id=run.ontology_id,
        execution_id=run.execution_id,
        mode=Mode(run.mode),
        config=run.config,
    )
