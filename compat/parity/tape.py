"""The tape: what legacy's extractor gave, replayed to the engine attempt by attempt."""

from sqlalchemy import select

from compat.contracts import ExtractionResult, PipelineConfig
from compat.errors import KnowledgeBatchError, ReplayedError, StoredError
from compat.status import SKIPPED
from compat.store import Store
from compat.store.database import Database
from compat.store.schema import DocumentOutcome, TapeRow


class TapeGapError(KnowledgeBatchError):
    """The engine asked for an attempt that legacy did not make, or whose output was not kept."""

    document_id: str
    attempt: int

    def __str__(self) -> str:
        return f"The tape has no attempt {self.attempt} of document {self.document_id}; look at what legacy did with it"


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


def tape_gaps(store: Store, batch_id: str) -> int:
    """How many of the attempts that a shadow would make the tape doesn't hold. Raises BatchNotFoundError."""
    query = select(TapeRow.document_id, TapeRow.generation, TapeRow.attempt).where(TapeRow.batch_id == batch_id)
    with store.database.read() as connection:
        taped = {tuple(row) for row in connection.execute(query)}
    failed = {
        (document.document_id, attempt.generation, attempt.number)
        for document in store.attempts(batch_id)
        for attempt in document.by_generation().get(document.generation, ())
        if attempt.status != SKIPPED and not (document.outcome == "succeeded" and attempt.number == document.counted)
    }
    return len(failed - taped)
