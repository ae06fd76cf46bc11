"""What a merged graph is made of, as its readers get it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """A canonical entity. ``degree`` counts its edges to and from other entities, ``entities`` those of documents in it."""

    number: int
    id: str
    name: str
    types: tuple[str, ...]
    attributes: dict[str, list[Any]]
    confidence: float
    entities: int
    documents: int
    degree: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A triple that documents state: from an entity to an entity, or to a literal where ``object`` is None.

    ``confidence`` is the highest of its statements, ``documents`` how many documents state it.
    """

    number: int
    subject: int
    subject_id: str
    subject_name: str
    predicate: str
    object: int | None
    object_id: str | None
    object_name: str
    datatype: str | None
    confidence: float
    documents: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a document says something. Offsets count Unicode code points of its text, the end is exclusive."""

    batch_id: str
    document_id: str
    extraction_id: str
    start: int | None
    end: int | None
    quote: str | None
    chunk: int | None
    confidence: float
    subject_id: str
    object_id: str | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was extracted."""

    number: int
    batch_id: str
    document_id: str
    extraction_id: str
    organization_id: str
    content_hash: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Stated:
    """A relation as one document states it, by the document's own ids."""

    subject_id: str
    predicate: str
    object_id: str | None
    literal: str | None
    datatype: str | None
    confidence: float
    start: int | None
    end: int | None
    quote: str | None
    chunk: int | None
