"""The documents of a batch by their ids, a page in memory at a time."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, exists, select

from compat.store.database import Database
from compat.store.schema import BatchDocument, BatchEventRow, DocumentOutcome
from compat.store.sql import IDS, blocks, pages

# The tables whose rows name a document. Events come last: they have no index of documents.
_TABLES = (BatchDocument, DocumentOutcome, BatchEventRow)


def of_both(legacy: Database, engine: Database, batch_id: str) -> Iterator[str]:
    """Yield the documents of which either side has a row, each once: legacy's, then those that the engine alone has."""
    yield from _of(legacy, batch_id)
    for unknown in blocks(_of(engine, batch_id), IDS):
        for table in _TABLES:
            if unknown:
                known = _known(legacy, batch_id, table, unknown)
                unknown = [name for name in unknown if name not in known]
        yield from unknown


def _of(database: Database, batch_id: str) -> Iterator[str]:
    """Yield the documents in the order of the request, then those that it lacks: few, if any."""
    asked = select(BatchDocument.document_id, BatchDocument.position).where(BatchDocument.batch_id == batch_id)
    tried = select(DocumentOutcome.document_id).where(DocumentOutcome.batch_id == batch_id)
    tried = tried.where(~_has(BatchDocument, DocumentOutcome)).order_by(DocumentOutcome.position, DocumentOutcome.document_id)
    named = select(BatchEventRow.document_id).where(BatchEventRow.batch_id == batch_id, BatchEventRow.document_id.is_not(None))
    named = named.where(~_has(BatchDocument, BatchEventRow), ~_has(DocumentOutcome, BatchEventRow)).distinct()
    with database.read() as connection:
        for page in pages(connection, asked, BatchDocument.position):
            yield from (row.document_id for row in page)
        others = [*connection.execute(tried), *connection.execute(named.order_by(BatchEventRow.document_id))]
    yield from (name for (name,) in others)


def _has(table: Any, other: Any) -> ColumnElement[bool]:
    """Return whether a table has the document of another one's row."""
    return exists().where(table.batch_id == other.batch_id, table.document_id == other.document_id)


def _known(database: Database, batch_id: str, table: Any, names: list[str]) -> set[str]:
    query = select(table.document_id).where(table.batch_id == batch_id, table.document_id.in_(names))
    with database.read() as connection:
        return set(connection.execute(query).scalars())
