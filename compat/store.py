"""The persistence adapter: who holds a batch, how it goes on, and how it ends. Every promise here is a row, never memory."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, select, update
from sqlalchemy.exc import SQLAlchemyError

from compat import events
from compat.contracts import (
    BatchCompleted,
    BatchConfig,
    BatchEvent,
    BatchFailed,
    BatchParams,
    BatchResult,
    BatchState,
    BatchSummary,
    DocumentResult,
    ExtractionResult,
    Failed,
    Failure,
    Success,
    utc_now,
)
from compat.database import Database, database
from compat.errors import (
    ActivityFailedError,
    BatchAlreadyRunningError,
    BatchInfrastructureError,
    BatchNotFoundError,
    InvalidStateTransitionError,
    LeaseLostError,
    StoredError,
)
from compat.ids import content_hash, derived_id, new_id
from compat.modes import Decision, Mode
from compat.policy import ACTIVITY_NAME, ALL_FAILED, CANCELLED_BY_USER, RESOLUTION_NAME, terminal_status
from compat.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    OntologyContent,
    Switch,
    WorkflowExecution,
)
from compat.settings import Settings
from compat.sql import insert_if_new, insert_or_ignore, upsert
from compat.status import TERMINAL, RowStatus, Snapshot, batch_state, check_transition

MAIN = "main"


@dataclass(frozen=True)
class Claim:
    """A batch in somebody's hands. ``owner`` is the token that every write of its holder names."""

    batch_id: str
    run: str
    owner: str
    generation: int
    organization_id: str
    ontology_id: str
    execution_id: str
    mode: Mode
    config: BatchConfig


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
class Signals:
    """What the holder of a batch learns at a heartbeat."""

    held: bool
    cancel_requested: bool


@contextmanager
def infrastructure(batch_id: str, operation: str) -> Iterator[None]:
    """Turns a failing database into BatchInfrastructureError; what was begun is rolled back."""
    try:
        yield
    except SQLAlchemyError as error:
        raise BatchInfrastructureError(batch_id, operation, f"{type(error).__name__}: {error}") from error


class Store:
    """Claims, leases, ends and switches of the batches in one database."""

    def __init__(self, database: Database, lease_seconds: float = 60.0) -> None:
        self.database = database
        self.lease_seconds = lease_seconds

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "Store":
        """The store that the environment names. Raises InvalidInputError for a setting or URL that can't be used."""
        settings = settings or Settings.load()
        return cls(database(settings.url), settings.lease_seconds)

    # --- Claim and resume -------------------------------------------------------------------------------------------

    def claim(self, params: BatchParams, decision: Decision) -> Claim | None:
        """Writes the batch and holds it; None where it is completed already and its result is stored.

        Exactly one caller wins, across threads, processes and machines: the winner is whoever
        inserts the run's row. Raises BatchAlreadyRunningError where another one holds it,
        InvalidStateTransitionError where the id bears other input or has ended otherwise, and
        BatchInfrastructureError (``batch_create_execution``) where the database fails.
        """
        batch_id = params.batch_id or new_id("knowledge_batch_execution")
        claim = Claim(
            batch_id=batch_id,
            run=MAIN,
            owner=uuid.uuid4().hex,
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
                "run": MAIN,
                "organization_id": params.organization_id,
                "ontology_id": params.ontology_id,
                "params_hash": digest,
                "execution_id": claim.execution_id,
                "mode": decision.mode.value,
                "mode_reason": decision.reason,
                "owner": claim.owner,
                "heartbeat_at": utc_now(),
            }
            if insert_if_new(connection, BatchRun, run_row):
                _insert_batch(connection, claim, params)
                return claim
            run = _locked_run(connection, batch_id)
            if run.params_hash != digest:
                raise InvalidStateTransitionError(
                    batch_id, _state_name(run), "Pending", "this id bears other input; choose another batch id"
                )
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
                DocumentOutcome.batch_id == batch_id, DocumentOutcome.run == MAIN, DocumentOutcome.outcome == "failed"
            )
            # Batch-level events but the first, and all of the documents that run again, tell what is about to change.
            connection.execute(
                update(BatchEventRow)
                .where(BatchEventRow.batch_id == batch_id, BatchEventRow.run == MAIN, BatchEventRow.key != "created")
                .where(BatchEventRow.document_id.is_(None) | BatchEventRow.document_id.in_(retried))
                .values(superseded=True)
            )
            connection.execute(
                update(DocumentOutcome)
                .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.run == MAIN, DocumentOutcome.outcome == "failed")
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
            connection.execute(
                update(BatchRun).where(*_is_run(claim.batch_id, claim.run)).values(rolled_back_from=claim.mode.value)
            )
            return self._take(connection, run, Decision(to, f"rolled back from {claim.mode}: {reason}"), claim.generation)

    def _take(self, connection: Connection, run: Row[Any], decision: Decision, generation: int) -> Claim:
        owner = uuid.uuid4().hex
        connection.execute(
            update(BatchRun)
            .where(*_is_run(run.batch_id, run.run))
            .values(owner=owner, heartbeat_at=utc_now(), generation=generation)
            .values(mode=decision.mode.value, mode_reason=decision.reason)
        )
        return replace(_claim_of(run, owner), generation=generation, mode=decision.mode)

    def held(self, batch_id: str, owner: str) -> Claim:
        """The claim behind a token, for a runtime that was handed only the two. Raises LeaseLostError."""
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.read() as connection:
            run = connection.execute(_run_query(batch_id)).first()
        if run is None or run.owner != owner:
            raise LeaseLostError(batch_id)
        return _claim_of(run, owner)

    # --- Lease ------------------------------------------------------------------------------------------------------

    def heartbeat(self, claim: Claim) -> Signals:
        """Renews the lease and reads what others want of this batch."""
        with self.database.write() as connection:
            cancel = connection.execute(
                update(BatchRun)
                .where(*_is_run(claim.batch_id, claim.run), BatchRun.owner == claim.owner)
                .values(heartbeat_at=utc_now())
                .returning(BatchRun.cancel_requested_at)
            ).first()
        return Signals(held=cancel is not None, cancel_requested=cancel is not None and cancel[0] is not None)

    def release(self, claim: Claim) -> None:
        """Gives the batch up without an end: from now on it counts as interrupted and can be resumed at once."""
        with self.database.write() as connection:
            connection.execute(
                update(BatchRun)
                .where(*_is_run(claim.batch_id, claim.run), BatchRun.owner == claim.owner)
                .values(owner=None, heartbeat_at=utc_now() - timedelta(seconds=self.lease_seconds))
            )

    def is_dead(self, status: str, heartbeat_at: datetime) -> bool:
        """Whether a batch that has not ended has lost its holder: no heartbeat for a whole lease."""
        return status not in TERMINAL and utc_now() - heartbeat_at >= timedelta(seconds=self.lease_seconds)

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
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = _locked_run(connection, claim.batch_id, claim.run)
            if run.owner != claim.owner:
                return RowStatus(run.status)
            return end(connection, run, RowStatus.FAILED, reason)

    def cancel(self, batch_id: str) -> None:
        """Asks for the end of a batch. Where nobody holds it, it ends here and now.

        Raises BatchNotFoundError, or InvalidStateTransitionError where it has ended already.
        """
        with infrastructure(batch_id, "batch_run_dispatch"), self.database.write() as connection:
            run = _locked_run(connection, batch_id)
            check_transition(batch_id, _state_name(run), "Cancelled")
            connection.execute(
                update(BatchRun)
                .where(*_is_run(batch_id, MAIN), BatchRun.cancel_requested_at.is_(None))
                .values(cancel_requested_at=utc_now())
            )
            if self.is_dead(run.status, run.heartbeat_at):
                end(connection, run, RowStatus.CANCELLED, CANCELLED_BY_USER)

    # --- Reads ------------------------------------------------------------------------------------------------------

    def state(self, batch_id: str) -> BatchState:
        """Where the batch stands. One that lost its holder is reported failed, whatever its row still says.

        Raises BatchNotFoundError, and BatchInfrastructureError (``batch_get_status``) where the database fails.
        """
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            run = connection.execute(_run_query(batch_id)).first()
            if run is None:
                raise BatchNotFoundError(batch_id)
            resolving = run.last_activity_name == RESOLUTION_NAME
            key = f"resolution:{run.generation}:completed"
            resolved = resolving and events.is_told(connection, batch_id, key)
        if self.is_dead(run.status, run.heartbeat_at):
            return Failed(batch_id=batch_id, failed_documents=run.failed_documents, error=self.interrupted(batch_id))
        return batch_state(
            Snapshot(
                batch_id=batch_id,
                status=RowStatus(run.status),
                resolving=resolving,
                resolved=resolved,
                completed_documents=run.completed_documents,
                failed_documents=run.failed_documents,
                total_documents=run.total_documents,
                entity_count=run.entity_count,
                relation_count=run.relation_count,
                error=run.error,
            )
        )

    def has_ended(self, batch_id: str) -> bool:
        """Whether the batch's row bears a terminal status. Raises BatchNotFoundError."""
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            status = connection.execute(select(BatchExecution.status).where(BatchExecution.id == batch_id)).scalar()
        if status is None:
            raise BatchNotFoundError(batch_id)
        return status in TERMINAL

    def interrupted(self, batch_id: str) -> str:
        """What is said of a batch whose holder is dead."""
        return f"Interrupted: no heartbeat for {self.lease_seconds:g} s; go on with knowledge-batch resume {batch_id}"

    def result(self, batch_id: str) -> BatchResult:
        """The BatchResult as the outcomes stand now: documents in the order of the request, those without an outcome left out."""
        query = (
            select(DocumentOutcome)
            .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.run == MAIN, DocumentOutcome.outcome.is_not(None))
            .order_by(DocumentOutcome.position)
        )
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            if connection.execute(_run_query(batch_id)).first() is None:
                raise BatchNotFoundError(batch_id)
            documents = [
                DocumentResult(
                    document_id=row.document_id,
                    result=Success(extraction=ExtractionResult.model_validate(row.extraction))
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
        """The extracted documents in the order of the request, a block of them in memory at a time. Raises BatchNotFoundError."""
        query = (
            select(DocumentOutcome, BatchRun.organization_id)
            .join(BatchRun, (BatchRun.batch_id == DocumentOutcome.batch_id) & (BatchRun.run == DocumentOutcome.run))
            .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.run == MAIN, DocumentOutcome.outcome == "succeeded")
            .order_by(DocumentOutcome.position)
            .execution_options(yield_per=100)
        )
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            if connection.execute(_run_query(batch_id)).first() is None:
                raise BatchNotFoundError(batch_id)
            for row in connection.execute(query):
                yield StoredExtraction(
                    extraction_id=extraction_id(batch_id, MAIN, row.document_id),
                    document_id=row.document_id,
                    organization_id=row.organization_id,
                    started_at=row.started_at,
                    ended_at=row.ended_at,
                    result=ExtractionResult.model_validate(row.extraction),
                )

    def failures(self, batch_id: str) -> dict[str, ActivityFailedError]:
        """Failed documents by id. The error's ``__cause__`` is of the class that the extractor raised."""
        query = select(DocumentOutcome).where(
            DocumentOutcome.batch_id == batch_id, DocumentOutcome.run == MAIN, DocumentOutcome.outcome == "failed"
        )
        found = {}
        with infrastructure(batch_id, "batch_get_status"), self.database.read() as connection:
            for row in connection.execute(query.order_by(DocumentOutcome.position)):
                error = _stored_error(row)
                execution_id = document_execution_id(batch_id, MAIN, row.document_id)
                found[row.document_id] = ActivityFailedError(execution_id, ACTIVITY_NAME, row.attempts, error.text)
                found[row.document_id].__cause__ = error.restore()
        return found

    def summaries(self, limit: int = 50) -> list[BatchSummary]:
        """The newest batches first. One that lost its holder reads failed."""
        query = (
            select(BatchExecution, BatchRun.mode, BatchRun.heartbeat_at)
            .join(BatchRun, (BatchRun.batch_id == BatchExecution.id) & (BatchRun.run == MAIN))
            .order_by(BatchExecution.created_at.desc(), BatchExecution.id)
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        found = []
        for row in rows:
            dead = self.is_dead(row.status, row.heartbeat_at)
            found.append(
                BatchSummary(
                    batch_id=row.id,
                    organization_id=row.organization_id,
                    ontology_id=row.ontology_id,
                    mode=row.mode,
                    status=RowStatus.FAILED if dead else row.status,
                    total_documents=row.total_documents,
                    completed_documents=row.completed_documents,
                    failed_documents=row.failed_documents,
                    entity_count=row.entity_count,
                    relation_count=row.relation_count,
                    created_at=row.created_at,
                    completed_at=row.completed_at,
                    error=self.interrupted(row.id) if dead else row.error,
                )
            )
        return found

    # --- Switches ---------------------------------------------------------------------------------------------------

    def switches(self) -> Mapping[str, str]:
        """The stored switches by name: ``mode`` and ``latch`` where they are set."""
        with self.database.read() as connection:
            return {row.name: row.value for row in connection.execute(select(Switch.name, Switch.value))}

    def set_switch(self, name: str, value: str | None) -> None:
        """Sets a switch for every process, from the next batch on; None takes it away."""
        with self.database.write() as connection:
            if value is None:
                connection.execute(Switch.__table__.delete().where(Switch.name == name))  # type: ignore[attr-defined]
            else:
                upsert(connection, Switch, {"name": name, "value": value, "updated_at": utc_now()})


def document_execution_id(batch_id: str, run: str, document_id: str) -> str:
    """The id of a document's execution row in one run of a batch."""
    return derived_id("knowledge_workflow_execution", batch_id, run, document_id)


def extraction_id(batch_id: str, run: str, document_id: str) -> str:
    """The id of one document's extraction in one run of a batch."""
    return derived_id("knowledge_extraction", batch_id, run, document_id)


def _stored_error(row: Row[Any]) -> StoredError:
    return StoredError(row.error_class, row.error_message, row.error_terminal, tuple(row.error_args or ()))


def params_hash(params: BatchParams) -> str:
    """What makes two requests the same, the batch id apart: organization, ontology, config, and every document in order."""
    parts = [params.organization_id, params.ontology_id, params.config.model_dump_json()]
    ontologies: dict[str, str] = {}
    for document in params.documents:
        if document.ontology_content not in ontologies:
            ontologies[document.ontology_content] = content_hash(document.ontology_content)
        parts += [document.document_id, content_hash(document.text), ontologies[document.ontology_content]]
    return content_hash("\n".join(content_hash(part) for part in parts))


def _insert_batch(connection: Connection, claim: Claim, params: BatchParams) -> None:
    config = params.config
    common = {"organization_id": params.organization_id, "status": RowStatus.PENDING.value}
    connection.execute(
        BatchExecution.__table__.insert(),  # type: ignore[attr-defined]
        {
            **common,
            "id": claim.batch_id,
            "ontology_id": params.ontology_id,
            "document_ids": [document.document_id for document in params.documents],
            "total_documents": len(params.documents),
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
            **common,
            "id": claim.execution_id,
            "workflow_type": "batch_extraction",
            "input": {
                "batchId": claim.batch_id,
                "totalDocuments": len(params.documents),
                "concurrency": config.concurrency,
                "failurePolicy": config.failure_policy.value,
                "executionMode": claim.mode.value,
            },
        },
    )
    hashes: dict[str, str] = {}
    rows = []
    for position, document in enumerate(params.documents):
        content = document.ontology_content
        if content not in hashes:
            hashes[content] = content_hash(content)
        rows.append(
            {
                "batch_id": claim.batch_id,
                "position": position,
                "document_id": document.document_id,
                "text": document.text,
                "content_hash": content_hash(document.text),
                "ontology_hash": hashes[content],
            }
        )
    insert_or_ignore(connection, OntologyContent, *({"hash": digest, "content": text} for text, digest in hashes.items()))
    insert_or_ignore(connection, BatchDocument, *rows)


def _is_run(batch_id: str, run: str) -> tuple[Any, Any]:
    return BatchRun.batch_id == batch_id, BatchRun.run == run


def _run_query(batch_id: str, run: str = MAIN) -> Select[Any]:
    """A run with its batch row's counts and its workflow row's input, as one row."""
    return (
        select(
            BatchRun,
            BatchExecution.status,
            BatchExecution.config,
            BatchExecution.total_documents,
            BatchExecution.completed_documents,
            BatchExecution.failed_documents,
            BatchExecution.entity_count,
            BatchExecution.relation_count,
            BatchExecution.error,
            WorkflowExecution.input,
            WorkflowExecution.last_activity_name,
        )
        .join(BatchExecution, BatchExecution.id == BatchRun.batch_id)
        .join(WorkflowExecution, WorkflowExecution.id == BatchRun.execution_id)
        .where(*_is_run(batch_id, run))
    )


def _locked_run(connection: Connection, batch_id: str, run: str = MAIN) -> Row[Any]:
    row = connection.execute(_run_query(batch_id, run).with_for_update(of=BatchRun)).first()
    if row is None:
        raise BatchNotFoundError(batch_id)
    return row


def held_run(connection: Connection, claim: Claim) -> Row[Any]:
    """The run's row, locked until the transaction ends. Raises LeaseLostError where the claim no longer holds."""
    run = _locked_run(connection, claim.batch_id, claim.run)
    if run.owner != claim.owner or run.status in TERMINAL:
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
    events.emit(connection, run.run, f"end:{run.generation}", event)
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
    connection.execute(update(BatchRun).where(*_is_run(run.batch_id, run.run)).values(owner=None))
    return status


def _claim_of(run: Row[Any], owner: str) -> Claim:
    return Claim(
        batch_id=run.batch_id,
        run=run.run,
        owner=owner,
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
