"""What is kept of shadow runs: the wish for one and how it went, the tape they replay, and how an old one is cleared away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from compat.contracts import ExtractionResult, PipelineConfig, utc_now
from compat.database import Database
from compat.errors import BatchAlreadyRunningError, BatchNotFoundError, KnowledgeBatchError, ReplayedError, StoredError
from compat.modes import Mode
from compat.policy import ALL_FAILED, INTERRUPTED
from compat.reader import BLOCK, Reader, document_execution_id, extraction_id, run_query
from compat.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    ShadowSubmission,
    TapeRow,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.sql import upsert
from compat.status import TERMINAL, RowStatus

# Of a shadow's flow run. "<batch> (shadow)" is the run whose mode is shadow: legacy's.
RUN_NAME = "shadow of {batch_id}"


class TapeGapError(KnowledgeBatchError):
    """The engine asked for an attempt that legacy did not make, or whose output was not kept."""

    fields = ("document_id", "attempt")

    def __init__(self, document_id: str, attempt: int) -> None:
        self.document_id = document_id
        self.attempt = attempt
        super().__init__(f"The tape has no attempt {attempt} of document {document_id}; look at what legacy did with it")


@dataclass(frozen=True)
class Standing:
    """Whether a batch has its shadow: ``requested``, ``submitted`` or ``refused``, and the reason where it isn't at work."""

    batch_id: str
    generation: int
    status: str
    reason: str | None
    flow_run_id: str | None

    @property
    def told(self) -> str:
        """In words."""
        if self.reason:
            return f"{self.status}: {self.reason}"
        return f"{self.status} as flow run {self.flow_run_id}" if self.flow_run_id else self.status


def wish(connection: Connection, batch_id: str, generation: int) -> None:
    """Keeps that the batch is to have a shadow."""
    row = {"batch_id": batch_id, "generation": generation, "status": "requested", "reason": None, "flow_run_id": None}
    upsert(connection, ShadowSubmission, {**row, "updated_at": utc_now()})


def note(
    database: Database, batch_id: str, generation: int, status: str, reason: str | None = None, flow_run_id: str | None = None
) -> None:
    """Keeps how the submission went; of a batch that has been resumed since, nothing."""
    with database.write() as connection:
        connection.execute(
            update(ShadowSubmission)
            .where(ShadowSubmission.batch_id == batch_id, ShadowSubmission.generation == generation)
            .values(status=status, reason=reason, flow_run_id=flow_run_id, updated_at=utc_now())
        )


@dataclass(frozen=True)
class Served:
    """How a batch was served: the grounds on which an engine may be compared with it.

    ``why_not`` says why it is no ground: the engine had a hand in it, or it did not run to its end.
    """

    generation: int
    owner: str | None
    why_not: str | None


def served(store: Reader, batch_id: str) -> Served:
    """How a batch was served. Raises BatchNotFoundError."""
    with store.database.read() as connection:
        run = connection.execute(run_query(batch_id)).first()
    if run is None:
        raise BatchNotFoundError(batch_id)
    return Served(run.generation, run.owner, _why_not(run))


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


def standing(database: Database, batch_id: str) -> Standing | None:
    """The batch's shadow; None where none was wished for."""
    with database.read() as connection:
        row = connection.execute(select(ShadowSubmission).where(ShadowSubmission.batch_id == batch_id)).first()
    return Standing(row.batch_id, row.generation, row.status, row.reason, row.flow_run_id) if row else None


def waiting(database: Database) -> list[Standing]:
    """Wishes of ended batches that nobody has submitted, or tried to."""
    query = (
        select(ShadowSubmission)
        .join(BatchExecution, BatchExecution.id == ShadowSubmission.batch_id)
        .where(ShadowSubmission.status == "requested", BatchExecution.status.in_(TERMINAL))
    )
    with database.read() as connection:
        return [Standing(row.batch_id, row.generation, row.status, row.reason, None) for row in connection.execute(query)]


class Tape:
    """An extractor that gives again what legacy's was given, document by document and attempt by attempt, at no cost.

    Which attempt it is comes from the shadow's own rows, not from memory.
    """

    def __init__(self, recorded: Database, batch_id: str, shadow: Database) -> None:
        self.recorded = recorded
        self.batch_id = batch_id
        self.shadow = shadow

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """The output of this attempt. Raises the error that legacy saw, or TapeGapError."""
        document_id = config.document_id
        query = select(DocumentOutcome).where(
            DocumentOutcome.batch_id == self.batch_id, DocumentOutcome.document_id == document_id
        )
        with self.shadow.read() as connection:
            made = connection.execute(query).first()
        attempt = made.attempts + 1 if made else 1
        with self.recorded.read() as connection:
            # A resumed document's last generation is the one that its outcome came of.
            outcome = connection.execute(query).first()
            failed = select(TapeRow).where(
                TapeRow.batch_id == self.batch_id,
                TapeRow.document_id == document_id,
                TapeRow.generation == (outcome.generation if outcome else 0),
                TapeRow.attempt == attempt,
            )
            row = connection.execute(failed).first()
        if row is not None:
            raise ReplayedError(StoredError(row.error_class, row.error_message, row.error_terminal, tuple(row.error_args)))
        if outcome is None or outcome.outcome != "succeeded" or outcome.attempts != attempt:
            raise TapeGapError(document_id, attempt)
        return ExtractionResult.model_validate(outcome.extraction)


def tape_gaps(store: Reader, batch_id: str) -> int:
    """How many of the attempts that a shadow would make the tape doesn't hold. Raises BatchNotFoundError."""
    query = select(TapeRow.document_id, TapeRow.generation, TapeRow.attempt).where(TapeRow.batch_id == batch_id)
    with store.database.read() as connection:
        taped = {tuple(row) for row in connection.execute(query)}
    failed = {
        (document.document_id, attempt.generation, attempt.number)
        for document in store.attempts(batch_id)
        for attempt in document.by_generation().get(document.generation, ())
        if not (document.outcome == "succeeded" and attempt.number == document.counted)
    }
    return len(failed - taped)


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
