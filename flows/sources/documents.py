"""Documents on their way into a batch: checked one by one, readable in order more than once, few of them in memory."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from compat.contracts import BatchConfig, BatchParams, DocumentInput, problems_of
from compat.errors import InvalidInputError, Problem
from compat.ids import content_hash, derived_id
from compat.store import Store
from compat.store.sql import blocks

# Bytes up to which checked documents wait in memory rather than in a temporary file.
SPOOL_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Row:
    """A document as its source has it, and its place in the source."""

    where: str
    document_id: object
    text: object


class Documents:
    """Checked documents that share an ontology."""

    def __init__(self, rows: Iterable[Row], ontology_content: str) -> None:
        """Read all rows. Raises InvalidInputError for one that isn't a document, or whose id was used before."""
        # The ontology is the same for all documents, so it is checked once.
        _checked(Row("ontology", "-", ""), ontology_content)
        self.ontology_content = ontology_content
        self._file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 -- lives as long as this does
        self._count = 0
        places: dict[str, str] = {}
        for row in rows:
            document = _checked(row)
            place = places.setdefault(document.document_id, row.where)
            if place != row.where:
                advice = (
                    f"documentId {document.document_id!r} is used twice, first at {place}; give every document an id of its own"
                )
                raise invalid(row.where, document.document_id, advice)
            self._file.write(json.dumps([document.document_id, document.text]).encode() + b"\n")
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[DocumentInput]:
        place = 0
        for _ in range(self._count):
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

    def request(self, batch_id: str | None, config: Mapping[str, Any]) -> "StreamedParams":
        """Return a batch's request for these documents. Raises InvalidInputError for a wrong field."""
        params = BatchParams.parse(
            {
                "batchId": batch_id,
                "organizationId": derived_id("shared_organization", "local"),
                "ontologyId": self.ontology_id,
                "documents": [],
                "config": config,
            }
        )
        return StreamedParams(params.batch_id, params.organization_id, params.ontology_id, self, params.config)


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

        return replace(self, documents=Documents(new(), self.documents.ontology_content))


def invalid(field: str, value: object, advice: str) -> InvalidInputError:
    """Return the error for one thing that is wrong with a source."""
    return InvalidInputError([Problem(field, value, advice)])


def _checked(row: Row, ontology_content: str = "") -> DocumentInput:
    document_id = row.document_id
    # Tables may have numbers as ids; True is a number to Python, but not an id.
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    try:
        return DocumentInput.model_validate({"documentId": document_id, "text": row.text, "ontologyContent": ontology_content})
    except ValidationError as error:
        problems = [Problem(f"{row.where} {problem.field}", problem.value, problem.advice) for problem in problems_of(error)]
        raise InvalidInputError(problems) from None
