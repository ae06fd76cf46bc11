"""What the merged graph is made of, as rows: canonical entities and their members; ontologies and texts behind them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select

from compat.contracts import CanonicalEntity
from compat.ids import extraction_id
from compat.store.database import Database
from compat.store.failures import infrastructure
from compat.store.schema import BatchDocument, CanonicalMember, CanonicalRow, DocumentOutcome, MentionRecord, OntologyContent
from compat.store.sql import DOCUMENTS, blocks

# Rows in memory at a time.
BLOCK = 1_000


@dataclass(slots=True)
class DocumentEntity:
    """An entity of one document as resolution needs it; ``mentions`` is how many it has. A large batch has millions."""

    extraction_id: str
    document_id: str
    id: str
    name: str
    types: list[str]
    attributes: dict[str, str | int | float | bool]
    confidence: float
    mentions: int


def document_entities(database: Database, batch_id: str) -> Iterator[DocumentEntity]:
    """Yield the entities of the extracted documents in the order of the request, those of a block of documents in memory."""
    found = DocumentOutcome.extraction["graph"]["entities"].label("entities")
    query = (
        select(DocumentOutcome.document_id, DocumentOutcome.position, found)
        .where(DocumentOutcome.batch_id == batch_id, DocumentOutcome.outcome == "succeeded")
        .order_by(DocumentOutcome.position)
        .limit(DOCUMENTS)
    )
    after = -1
    while True:
        with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
            rows = connection.execute(query.where(DocumentOutcome.position > after)).all()
        if not rows:
            return
        for row in rows:
            extraction = extraction_id(batch_id, row.document_id)
            for each in row.entities:
                name = each["canonicalName"] or each["mention"]
                known = each["types"], each["attributes"], each["confidence"], len(each["mentions"])
                yield DocumentEntity(extraction, row.document_id, each["id"], name, *known)
        after = rows[-1].position


def forget(connection: Connection, batch_id: str) -> None:
    """Delete the result of an earlier resolution of the batch."""
    for table in (CanonicalRow, CanonicalMember):
        connection.execute(delete(table).where(table.batch_id == batch_id))


def keep(connection: Connection, batch_id: str, entities: Iterable[CanonicalEntity]) -> None:
    """Write a batch's canonical entities. Their members come first: whoever finds these rows finds all of both."""
    for block in blocks(enumerate(entities), BLOCK):
        rows = [{"batch_id": batch_id, "position": position, **_row(entity)} for position, entity in block]
        connection.execute(CanonicalRow.__table__.insert(), rows)  # type: ignore[attr-defined]


def keep_members(connection: Connection, batch_id: str, members: Sequence[tuple[str, str, str]]) -> None:
    """Write which canonical entity each ``(document_id, entity_id, canonical_id)`` belongs to."""
    if members:
        names = ("document_id", "entity_id", "canonical_id")
        rows = [{"batch_id": batch_id, **dict(zip(names, member, strict=True))} for member in members]
        connection.execute(CanonicalMember.__table__.insert(), rows)  # type: ignore[attr-defined]


def count(database: Database, *batch_ids: str) -> dict[str, int]:
    """Return how many canonical entities each of the batches has; those that have none stored are left out."""
    query = (
        select(CanonicalRow.batch_id, func.count()).where(CanonicalRow.batch_id.in_(batch_ids)).group_by(CanonicalRow.batch_id)
    )
    with infrastructure(", ".join(batch_ids), "batch_get_status"), database.read() as connection:
        return dict(connection.execute(query.group_by(CanonicalRow.batch_id)).tuples().all())


def counted(entity_count: int, canonical: int | None) -> str:
    """Return how many entities a batch has, in words; ``canonical`` is None where they aren't merged."""
    return f"{entity_count} in documents, not merged" if canonical is None else f"{canonical} ({entity_count} in documents)"


def entities(database: Database, batch_id: str) -> Iterator[CanonicalEntity]:
    """Yield the batch's canonical entities in their order, a block of them in memory at a time; none where it isn't resolved."""
    for row in _rows(database, batch_id):
        yield CanonicalEntity(
            id=row.id,
            name=row.name,
            types=tuple(row.types),
            attributes={key: tuple(values) for key, values in row.attributes.items()},
            confidence=row.confidence,
            entity_count=row.entity_count,
        )


def fingerprint(database: Database, batch_id: str) -> str:
    """Return the number of a batch's canonical entities and a hash of them, to tell whether they have changed."""
    digest, count = hashlib.sha256(), 0
    for row in _rows(database, batch_id):
        values = [row.position, row.id, row.name, row.types, row.attributes, row.confidence, row.entity_count]
        digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")
        count += 1
    return f"{count} entities, {digest.hexdigest()}"


def _rows(database: Database, batch_id: str) -> Iterator[Row[Any]]:
    query = select(CanonicalRow).where(CanonicalRow.batch_id == batch_id).order_by(CanonicalRow.position).limit(BLOCK)
    after = -1
    while True:
        with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
            rows = connection.execute(query.where(CanonicalRow.position > after)).all()
        if not rows:
            return
        yield from rows
        after = rows[-1].position


def members(database: Database, batch_id: str, document_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the canonical ids by ``(document_id, entity_id)`` of some documents' entities."""
    query = select(CanonicalMember.document_id, CanonicalMember.entity_id, CanonicalMember.canonical_id)
    query = query.where(CanonicalMember.batch_id == batch_id, CanonicalMember.document_id.in_(document_ids))
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        return {(row.document_id, row.entity_id): row.canonical_id for row in connection.execute(query)}


def ontologies(database: Database, batch_id: str) -> Iterator[str]:
    """Yield the texts of the ontologies that the batch's documents are read by, each once, in the order of the request."""
    first = func.min(BatchDocument.position)
    used = select(BatchDocument.ontology_hash).where(BatchDocument.batch_id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        hashes = connection.execute(used.group_by(BatchDocument.ontology_hash).order_by(first)).scalars().all()
        for each in hashes:
            yield connection.execute(select(OntologyContent.content).where(OntologyContent.hash == each)).scalar_one()


def texts(database: Database, batch_id: str, document_ids: Sequence[str]) -> dict[str, str]:
    """Return the texts of some documents by their ids."""
    query = select(BatchDocument.document_id, BatchDocument.text).where(BatchDocument.batch_id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        return dict(connection.execute(query.where(BatchDocument.document_id.in_(document_ids))).tuples().all())


def content_hashes(database: Database, batch_id: str, document_ids: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of some documents' texts by their ids."""
    query = select(BatchDocument.document_id, BatchDocument.content_hash).where(BatchDocument.batch_id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        return dict(connection.execute(query.where(BatchDocument.document_id.in_(document_ids))).tuples().all())


def resolve_mentions(connection: Connection, resolved: Sequence[dict[str, Any]]) -> None:
    """Write the canonical ids at mention records, given as ``{"key": id, "older": its older form, "entity": canonical id}``."""
    if resolved:
        table = MentionRecord.__table__
        statement = table.update().where(table.c.id.in_([bindparam("key"), bindparam("older")]))  # type: ignore[attr-defined]
        connection.execute(statement.values(resolved_entity_id=bindparam("entity")), resolved)


def _row(entity: CanonicalEntity) -> dict[str, Any]:
    values = {key: list(each) for key, each in entity.attributes.items()}
    return {
        "id": entity.id,
        "name": entity.name,
        "types": list(entity.types),
        "attributes": values,
        "confidence": entity.confidence,
        "entity_count": entity.entity_count,
    }
