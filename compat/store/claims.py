"""The persistence adapter: who holds a batch, how it goes on, and how it ends. Every promise here is a row, never memory."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.exc import SQLAlchemyError

from compat.contracts import BatchCompleted, BatchConfig, BatchEvent, BatchFailed, utc_now
from compat.errors import (
    BatchAlreadyRunningError,
    BatchNotFoundError,
    InvalidStateTransitionError,
    LeaseLostError,
    OtherInputError,
)
from compat.ids import new_id
from compat.modes import Decision, Mode
from compat.policy import ALL_FAILED, CANCELLED_BY_USER, RESOLUTION_NAME, terminal_status
from compat.settings import Settings
from compat.status import TERMINAL, RowStatus, check_transition
from compat.store import events, shadow_requests
from compat.store.database import SHADOW, database
from compat.store.intake import Request, insert_batch, params_hash
from compat.store.reading import Reader, infrastructure, run_query
from compat.store.schema import BatchEventRow, BatchExecution, BatchRun, DocumentOutcome, Switch, WorkflowExecution
from compat.store.sql import insert_if_new, upsert

log = logging.getLogger("knowledge_batch")


@dataclass(frozen=True)
class Claim:
    """A batch in somebody's hands. Every write of its holder names the ``holder_token``."""

    batch_id: str
    holder_token: str
    generation: int
    organization_id: str
    ontology_id: str
    execution_id: str
    mode: Mode
    config: BatchConfig


@dataclass(frozen=True)
class Signals:
    """What the holder of a batch learns at a heartbeat."""

    held: bool
    cancel_requested: bool


@dataclass(frozen=True)
class Unfinished:
    """A batch that has not ended, its holder's token, its flow run, and whether its lease has run out."""

    batch_id: str
    holder_token: str | None
    flow_run_id: str | None
    dead: bool


class Store(Reader):
    """Claims, leases, ends and switches of the batches in one database."""

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "Store":
        """The store that the environment names. Raises InvalidInputError for a setting or URL that can't be used."""
        settings = settings or Settings.load()
        return cls(database(settings.url), settings.lease_seconds)

    @classmethod
    def of_shadows(cls, settings: Settings | None = None) -> "Store":
        """The store of shadow runs: the same tables in a namespace of their own, where no old reader looks."""
        settings = settings or Settings.load()
        return cls(database(settings.url, SHADOW), settings.lease_seconds)

    # --- Claim and resume -------------------------------------------------------------------------------------------

    def claim(self, params: Request, decision: Decision, batch_id: str | None = None) -> Claim | None:
        """Writes the batch, under its own id or the one given, and holds it; None where its result is stored already.

        Exactly one caller wins, across threads, processes and machines: the winner is whoever
        inserts the run's row. Raises BatchAlreadyRunningError where another one holds it,
        OtherInputError where the id bears other input, InvalidStateTransitionError where it has ended otherwise, and
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
        with infrastructure(batch_id, "batch_create_execution"), self.database.write() as connection:
            run_row = {
                "batch_id": batch_id,
                "organization_id": params.organization_id,
                "ontology_id": params.ontology_id,
                "params_hash": digest,
                "execution_id": claim.execution_id,
                "mode": decision.mode.value,
                "mode_reason": decision.reason,
                "holder_token": claim.holder_token,
                "heartbeat_at": utc_now(),
            }
            if insert_if_new(connection, BatchRun, run_row):
                insert_batch(connection, params, batch_id, claim.execution_id, claim.mode.value)
                _wish_for_shadow(connection, claim)
                # Many documents take longer to write than a lease lasts.
                connection.execute(update(BatchRun).where(BatchRun.batch_id == batch_id).values(heartbeat_at=utc_now()))
                return claim
            run = _locked_run(connection, batch_id)
            if run.params_hash != digest:
                raise OtherInputError(batch_id, _state_name(run))
            self._refuse_if_alive(run)
            if run.status == RowStatus.COMPLETED:
                return None
            raise InvalidStateTransitionError(
                batch_id, self._ended_as(run), "Pending", f"go on with it: knowledge-batch resume {batch_id}"
            )

    def resume(self, batch_id: str, decision: Decision) -> Claim:
        """Holds a failed batch, or one whose holder is dead, to do what is missing.

        Failed documents get a new generation of attempts; the events that no longer hold are
        superseded. Raises BatchNotFoundError, BatchAlreadyRunningError, or
        InvalidStateTransitionError where the batch is completed or cancelled.
        """
        with infrastructure(batch_id, "batch_create_execution"), self.database.write() as connection:
            run = _locked_run(connection, batch_id)
            self._refuse_if_alive(run)
            check_transition(batch_id, self._ended_as(run), "Pending")
            if run.cancel_requested_at is not None:
                raise InvalidStateTransitionError(
                    batch_id, "Cancelled", "Pending", "it was cancelled; start it under a new batch id"
                )
            generation = run.generation + 1
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
                .values(status=RowStatus.PENDING, failed_documents=0, error=None, completed_at=None)
            )
            row_input = {**run.input, "executionMode": decision.mode.value}
            connection.execute(
                update(WorkflowExecution)
                .where(WorkflowExecution.id == run.execution_id)
                .values(status=RowStatus.PENDING, input=row_input, output=None, error=None, completed_at=None)
                .values(last_activity_name=None, retry_count=generation)
            )
            return self._take(connection, run, decision, generation)

    def hand_over(self, claim: Claim, to: Mode, reason: str) -> Claim:
        """The same batch in another runtime's hands, with a token that shuts the first one out.

        The row's input says ``executionMode``, ``rolledBackFrom`` and ``rollbackReason``. Raises
        LeaseLostError where the claim no longer holds.
        """
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = held_run(connection, claim)
            row_input = {
                **run.input,
                "executionMode": to.value,
                "rolledBackFrom": claim.mode.value,
                "rollbackReason": reason,
            }
            connection.execute(update(WorkflowExecution).where(WorkflowExecution.id == run.execution_id).values(input=row_input))
            return self._take(connection, run, Decision(to, f"rolled back from {claim.mode}: {reason}"), claim.generation)

    def _take(self, connection: Connection, run: Row[Any], decision: Decision, generation: int) -> Claim:
        token = uuid.uuid4().hex
        connection.execute(
            update(BatchRun)
            .where(BatchRun.batch_id == run.batch_id)
            .values(holder_token=token, heartbeat_at=utc_now(), generation=generation)
            # Whoever takes the batch serves it in another flow run, or in none.
            .values(mode=decision.mode.value, mode_reason=decision.reason, flow_run_id=None)
            # Also where somebody resumed it elsewhere: what the engine has done of it is no ground for comparison.
            .values(rolled_back_from=run.mode if Mode.ENGINE == run.mode != decision.mode else run.rolled_back_from)
        )
        claim = replace(_claim_of(run, token), generation=generation, mode=decision.mode)
        _wish_for_shadow(connection, claim)
        return claim

    def held(self, batch_id: str, holder_token: str) -> Claim:
        """The claim behind a token, for a runtime that was handed only the two. Raises LeaseLostError."""
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.read() as connection:
            run = connection.execute(run_query(batch_id)).first()
        if run is None or run.holder_token != holder_token:
            raise LeaseLostError(batch_id)
        return _claim_of(run, holder_token)

    # --- Lease ------------------------------------------------------------------------------------------------------

    def heartbeat(self, claim: Claim) -> Signals:
        """Renews the lease and reads what others want of this batch."""
        with self.database.write() as connection:
            cancel = connection.execute(
                update(BatchRun)
                .where(BatchRun.batch_id == claim.batch_id, BatchRun.holder_token == claim.holder_token)
                .values(heartbeat_at=utc_now())
                .returning(BatchRun.cancel_requested_at)
            ).first()
        return Signals(held=cancel is not None, cancel_requested=cancel is not None and cancel[0] is not None)

    def _refuse_if_alive(self, run: Row[Any]) -> None:
        if run.status not in TERMINAL and not self.is_dead(run.status, run.heartbeat_at):
            raise BatchAlreadyRunningError(run.batch_id)

    def _ended_as(self, run: Row[Any]) -> str:
        # A batch whose holder is dead has failed, whatever its row still says.
        return "Failed" if self.is_dead(run.status, run.heartbeat_at) else _state_name(run)

    # --- Ends -------------------------------------------------------------------------------------------------------

    def finish(self, claim: Claim) -> RowStatus:
        """Ends a batch by what its documents came to, or as cancelled where that was asked for. Returns the row's status.

        Raises LeaseLostError where the claim no longer holds.
        """
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = held_run(connection, claim)
            if run.cancel_requested_at is not None:
                return end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)
            status = RowStatus(terminal_status(run.completed_documents, run.failed_documents))
            return end(connection, run, status, ALL_FAILED if status == RowStatus.FAILED else None)

    def fail(self, claim: Claim, reason: str) -> RowStatus:
        """Ends a batch whose machinery failed; it can be resumed. A claim that no longer holds changes nothing."""
        return self.abandon(claim.batch_id, claim.holder_token, reason)

    def cancel(self, batch_id: str) -> None:
        """Asks for the end of a batch. Where nobody holds it, it ends here and now.

        Raises BatchNotFoundError, or InvalidStateTransitionError where it has ended already.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = _locked_run(connection, batch_id)
            check_transition(batch_id, _state_name(run), "Cancelled")
            connection.execute(
                update(BatchRun)
                .where(BatchRun.batch_id == batch_id, BatchRun.cancel_requested_at.is_(None))
                .values(cancel_requested_at=utc_now())
            )
            if self.is_dead(run.status, run.heartbeat_at):
                end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)

    def reconcile(self, batch_id: str, silent_since: datetime | None = None, reason: str | None = None) -> RowStatus:
        """Writes down what a dead batch has come to: failed, or cancelled where that was asked for. Returns the row's status.

        A live batch is left alone, and so is one that has ended: of many who reconcile, one writes.

        Args:
            batch_id: The batch. Raises BatchNotFoundError.
            silent_since: A moment at which its process is known to have ended. A batch that gave no heartbeat after it
                is dead before its lease runs out; one that has is in other hands by now.
            reason: What its process ended of.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = _locked_run(connection, batch_id)
            silent = silent_since is not None and run.heartbeat_at <= silent_since
            if run.status in TERMINAL or not (silent or self.is_dead(run.status, run.heartbeat_at)):
                return RowStatus(run.status)
            return _end_abandoned(connection, run, reason or self.interrupted(batch_id))

    def abandon(self, batch_id: str, holder_token: str | None, reason: str) -> RowStatus:
        """Ends a batch whose holder is known to be gone, before its lease runs out. Returns the row's status.

        ``holder_token`` is that holder's; where another one has taken the batch since, nothing is changed.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = _locked_run(connection, batch_id)
            if run.holder_token != holder_token:
                return RowStatus(run.status)
            return _end_abandoned(connection, run, reason)

    def unfinished(self) -> list[Unfinished]:
        """The batches whose rows bear no terminal status, oldest first."""
        query = (
            select(
                BatchRun.batch_id,
                BatchRun.holder_token.label("holder_token"),
                BatchRun.flow_run_id,
                BatchRun.heartbeat_at,
                BatchExecution.status,
            )
            .join(BatchExecution, BatchExecution.id == BatchRun.batch_id)
            .where(BatchExecution.status.not_in(TERMINAL))
            .order_by(BatchRun.created_at)
        )
        with self.database.read() as connection:
            return [
                Unfinished(row.batch_id, row.holder_token, row.flow_run_id, self.is_dead(row.status, row.heartbeat_at))
                for row in connection.execute(query)
            ]

    def note_flow_run(self, claim: Claim, flow_run_id: str) -> None:
        """Keeps which flow run serves the batch, for whoever asks Prefect about it."""
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.database.write() as connection:
            held_run(connection, claim)
            connection.execute(update(BatchRun).where(BatchRun.batch_id == claim.batch_id).values(flow_run_id=flow_run_id))

    # --- Switches ---------------------------------------------------------------------------------------------------

    def switches(self) -> Mapping[str, str]:
        """The stored switches by name: ``mode`` and ``demotion`` where they are set."""
        with self.database.read() as connection:
            return {row.name: row.value for row in connection.execute(select(Switch.name, Switch.value))}

    def set_switch(self, name: str, value: str | None) -> None:
        """Sets a switch for every process, from the next batch on; None takes it away."""
        with self.database.write() as connection:
            if value is None:
                connection.execute(Switch.__table__.delete().where(Switch.name == name))  # type: ignore[attr-defined]
            else:
                upsert(connection, Switch, {"name": name, "value": value, "updated_at": utc_now()})


def _wish_for_shadow(connection: Connection, claim: Claim) -> None:
    # Stored with the batch, so that whoever submits the shadow may be late, or another process. The batch goes on without.
    if claim.mode == Mode.SHADOW:
        try:
            with connection.begin_nested():
                shadow_requests.add(connection, claim.batch_id, claim.generation)
        except SQLAlchemyError:
            log.exception("batch %s: that it is to have a shadow was not stored", claim.batch_id)


def _locked_run(connection: Connection, batch_id: str) -> Row[Any]:
    row = connection.execute(run_query(batch_id).with_for_update(of=BatchRun)).first()
    if row is None:
        raise BatchNotFoundError(batch_id)
    return row


def held_run(connection: Connection, claim: Claim) -> Row[Any]:
    """The run's row, locked until the transaction ends. Raises LeaseLostError where the claim no longer holds."""
    run = _locked_run(connection, claim.batch_id)
    if run.holder_token != claim.holder_token or run.status in TERMINAL:
        raise LeaseLostError(claim.batch_id)
    return run


def end(connection: Connection, run: Row[Any], status: RowStatus, error: str | None) -> RowStatus:
    """The terminal event, then the terminal rows, unless the batch has ended: the first terminal status stands."""
    if run.status in TERMINAL:
        return RowStatus(run.status)
    attempted = run.completed_documents + run.failed_documents
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


def _end_abandoned(connection: Connection, run: Row[Any], reason: str) -> RowStatus:
    if run.cancel_requested_at is not None:
        return end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)
    return end(connection, run, RowStatus.FAILED, reason)


def _claim_of(run: Row[Any], holder_token: str) -> Claim:
    return Claim(
        batch_id=run.batch_id,
        holder_token=holder_token,
        generation=run.generation,
        organization_id=run.organization_id,
        ontology_id=run.ontology_id,
        execution_id=run.execution_id,
        mode=Mode(run.mode),
        config=BatchConfig.model_validate(run.config),
    )


def _state_name(run: Row[Any]) -> str:
    if run.status == RowStatus.RUNNING:
        return "Resolving" if run.last_activity_name == RESOLUTION_NAME else "Extracting"
    return str(run.status).capitalize()
