"""The tape: what legacy's extractor returned or raised, replayed to the engine attempt by attempt."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, func, select

from compat.contracts import ExtractionResult, PipelineConfig
from compat.errors import KnowledgeBatchError
from compat.status import SKIPPED
from compat.store import Store
from compat.store.database import Database
from compat.store.schema import DocumentOutcome, TapeRow
from compat.store.sql import insert_if_new
from compat.stored_errors import ReplayedError, StoredError

# Marks a row that counts a reading. Readings are rows of the shadow's own tape table, which is otherwise empty.
READING = -1


class TapeGapError(KnowledgeBatchError):
    """The engine asked for an attempt that legacy did not make, or whose output was not kept."""

    document_id: str
    attempt: int

    def __str__(self) -> str:
        return f"The tape has no attempt {self.attempt} of document {self.document_id}; look at what legacy did with it"


class Tape:
    """An extractor that replays what legacy's extractor returned or raised, by document and attempt, at no cost.

    The number of the attempt is read from the shadow's own rows, not kept in memory. Every reading is counted there too: a
    second owner of retries would read more often than attempts are recorded.
    """

    def __init__(self, recorded: Database, batch_id: str, shadow: Database) -> None:
        self.recorded = recorded
        self.batch_id = batch_id
        self.shadow = shadow

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the output of this attempt. Raises the error that legacy saw, or TapeGapError."""
        document_id = config.document_id
        self._count(document_id)
        query = select(DocumentOutcome).where(
            DocumentOutcome.batch_id == self.batch_id, DocumentOutcome.document_id == document_id
        )
        with self.shadow.read() as connection:
            made = connection.execute(query).first()
        attempt = made.attempts + 1 if made else 1
        with self.recorded.read() as connection:
            # Of a resumed document the last generation counts, which its outcome is from.
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

    def _count(self, document_id: str) -> None:
        """Note a reading under the document's next number."""
        newest = select(func.coalesce(func.max(TapeRow.attempt), 0)).where(*_is_reading(self.batch_id, [document_id]))
        row = {"batch_id": self.batch_id, "document_id": document_id, "generation": READING}
        row |= {"error_class": "", "error_message": "", "error_terminal": False, "error_args": []}
        with self.shadow.write() as connection:
            number = connection.execute(newest).scalar_one() + 1
            # If another thread reads at the same moment, the number is taken.
            while not insert_if_new(connection, TapeRow, {**row, "attempt": number}):
                number += 1


def readings(shadow: Database, batch_id: str, document_ids: Sequence[str]) -> Mapping[str, int]:
    """Return how often a shadow read the tape, by document. Empty if it used another extractor."""
    query = select(TapeRow.document_id).where(*_is_reading(batch_id, document_ids))
    with shadow.read() as connection:
        return Counter(connection.execute(query).scalars())


def _is_reading(batch_id: str, document_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return TapeRow.batch_id == batch_id, TapeRow.document_id.in_(document_ids), TapeRow.generation == READING


def tape_gaps(store: Store, batch_id: str) -> int:
    """Return how many attempts of a shadow run are missing on the tape. Raises BatchNotFoundError."""
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
