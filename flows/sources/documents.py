"""Documents on their way into a batch: checked one by one, readable in order more than once, few of them in memory."""

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from compat.contracts import BatchConfig, BatchParams, DocumentInput, problems_of
from compat.errors import InvalidInputError, Problem
from compat.ids import content_hash, derived_id
from compat.store import Store
from compat.store.sql import blocks

# Bytes up to which checked documents wait in memory rather than in a temporary file.
SPOOL_BYTES = 8 * 2**20
# Names in one note; further ones are counted.
MOST_NAMES = 20
# Whose batches are that name no organization.
OWN_ORGANIZATION = derived_id("shared_organization", "local")
# Up to here a float holds every whole number exactly.
EXACT = 2**53


@dataclass(frozen=True)
class Row:
    """A document as its source has it, and its place in the source."""

    where: str
    document_id: object
    text: object


@dataclass
class Reading:
    """What a person should know of how a source was read.

    Attributes:
        not_read: Files that were left out, with the reason where their ending isn't reason enough.
        columns: Keys or columns that are neither id nor text, by the file that has them.
        readers: How many files each library read, with its version.
        count: Documents that came from files so far.
    """

    not_read: dict[str, str] = field(default_factory=dict)
    columns: dict[str, set[str]] = field(default_factory=dict)
    readers: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def notes(self) -> list[str]:
        """Return it as sentences, a line each."""
        notes = [f"{name}: {_listed(sorted(columns))} not used" for name, columns in sorted(self.columns.items())]
        if self.readers:
            read = ", ".join(f"{reader} ({count})" for reader, count in sorted(self.readers.items()))
            notes.append(f"files were read with {read}")
        if self.not_read:
            count = "1 file was" if len(self.not_read) == 1 else f"{len(self.not_read):,} files were"
            names = [f"{name} ({reason})" if reason else name for name, reason in sorted(self.not_read.items())]
            notes.append(f"{count} not read: {_listed(names)}")
        return notes


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


class Documents:
    """Checked documents that share an ontology. ``ontology_shown`` is how errors name its file."""

    def __init__(
        self, rows: Iterable[Row], ontology_content: str, reading: Reading | None = None, ontology_shown: str = ""
    ) -> None:
        """Read all rows. Raises InvalidInputError for one that isn't a document, or whose id was used before."""
        self.reading = reading or Reading()
        self.ontology_shown = ontology_shown
        # The ontology is the same for all documents, so it is checked once.
        _checked(Row("ontology", "-", ""), ontology_content)
        self.ontology_content = ontology_content
        self._file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 -- lives as long as this does
        self._count = 0
        with closing(_Places()) as places:
            for row in rows:
                document = _checked(row)
                place = places.first(document.document_id, row.where)
                if place != row.where:
                    advice = (
                        f"documentId {document.document_id!r} is used twice, first at {place};"
                        " give every document an id of its own"
                    )
                    raise invalid(row.where, document.document_id, advice)
                self._file.write(json.dumps([document.document_id, document.text]).encode() + b"\n")
                self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[DocumentInput]:
        return self.read(0, self._count)

    def cut(self, size: int) -> Iterator["Part"]:
        """Yield the documents in parts of ``size``, the last one of what is left."""
        place = 0
        for first in range(0, self._count, size):
            part = Part(self, place, min(size, self._count - first))
            yield part
            self._file.seek(place)
            for _ in range(part.count):
                self._file.readline()
            place = self._file.tell()

    def read(self, place: int, count: int) -> Iterator[DocumentInput]:
        """Yield so many documents from a place in the file of checked documents on."""
        for _ in range(count):
            # Another reader may have moved the file's position.
            self._file.seek(place)
            document_id, text = json.loads(self._file.readline())
            place = self._file.tell()
            # It was checked on its way into the file.
            yield DocumentInput.model_construct(document_id=document_id, text=text, ontology_content=self.ontology_content)

    @property
    def ontology_id(self) -> str:
        """The same for the same ontology."""
        return derived_id("knowledge_ontology", self.ontology_content)

    def request(self, batch_id: str | None, config: Mapping[str, Any], organization_id: str | None = None) -> "StreamedParams":
        """Return a batch's request for these documents, of this installation's own organization where none is named.

        Raises InvalidInputError for a wrong field.
        """
        params = BatchParams.parse(
            {
                "batchId": batch_id,
                "organizationId": OWN_ORGANIZATION if organization_id is None else organization_id,
                "ontologyId": self.ontology_id,
                "documents": [],
                "config": config,
            }
        )
        return StreamedParams(params.batch_id, params.organization_id, params.ontology_id, self, params.config)


class _Places:
    """Where each document id was met first, in a temporary database: ids needn't fit into memory."""

    def __init__(self) -> None:
        # Without a name SQLite removes its file by itself. A source may be read in another thread than it is begun in.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE place (id TEXT PRIMARY KEY, place BLOB) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def first(self, document_id: str, place: str) -> str:
        """Return where the id was met first, which is this place if it is new."""
        # As bytes: a file's name may be no Unicode text.
        row = (document_id, place.encode("utf-8", "surrogatepass"))
        if self._database.execute("INSERT OR IGNORE INTO place VALUES (?, ?)", row).rowcount:
            return place
        found: bytes = self._database.execute("SELECT place FROM place WHERE id = ?", row[:1]).fetchone()[0]
        return found.decode("utf-8", "surrogatepass")

    def close(self) -> None:
        self._database.close()


@dataclass(frozen=True)
class Part:
    """Some documents out of all, in order; they can be read more than once."""

    documents: Documents
    place: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[DocumentInput]:
        return self.documents.read(self.place, self.count)


@dataclass(frozen=True)
class StreamedParams:
    """``BatchParams`` with documents that needn't fit into memory."""

    batch_id: str | None
    organization_id: str
    ontology_id: str
    documents: Documents
    config: BatchConfig

    def only_new(self, store: Store) -> "StreamedParams":
        """Return the request without documents whose text this ontology has extracted, in an older batch of the organization."""
        ontology = content_hash(self.documents.ontology_content)

        def new() -> Iterator[Row]:
            for block in blocks(self.documents):
                hashes = [content_hash(document.text) for document in block]
                known = store.extracted(self.organization_id, ontology, hashes, self.batch_id)
                for document, digest in zip(block, hashes, strict=True):
                    if digest not in known:
                        yield Row(document.document_id, document.document_id, document.text)

        return replace(
            self,
            documents=Documents(new(), self.documents.ontology_content, self.documents.reading, self.documents.ontology_shown),
        )


def invalid(field: str, value: object, advice: str) -> InvalidInputError:
    """Return the error for one thing that is wrong with a source."""
    return InvalidInputError([Problem(field, value, advice)])


def _checked(row: Row, ontology_content: str = "") -> DocumentInput:
    try:
        return DocumentInput.model_validate(
            {"documentId": _id(row.document_id), "text": row.text, "ontologyContent": ontology_content}
        )
    except ValidationError as error:
        problems = [Problem(f"{row.where} {problem.field}", problem.value, problem.advice) for problem in problems_of(error)]
        raise InvalidInputError(problems) from None


def _id(value: object) -> object:
    """Return a document's id as text where it is a number or UUID, as in tables; anything else is checked as it is."""
    # True is a number to Python, but not an id.
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:.0f}" if value == value.to_integral_value() else f"{value.normalize():f}"
    return value
