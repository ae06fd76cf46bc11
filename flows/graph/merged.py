"""The merged graph of one or more batches: what every format, page and frame is made from.

It lies in a temporary SQLite file of its own, so that a graph of any size takes little memory and every reader gets nodes
and edges in the same order: nodes by their first mention, edges by subject, predicate and object.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from compat import fan_outs
from compat.contracts import CanonicalEntity, Entity, ExtractionResult
from compat.errors import InvalidInputError, OntologyParseError, Problem
from compat.ids import derived_id
from compat.store import Store, graphs
from compat.store.reading import StoredExtraction
from compat.store.sql import blocks
from flows.graph.parts import Document, Edge, Evidence, Node, Stated

if TYPE_CHECKING:
    from tasks.extraction import Resolution

# Documents in memory at a time.
BLOCK = 100

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8000;
CREATE TABLE node (
  n INTEGER PRIMARY KEY, id TEXT UNIQUE, name TEXT, types TEXT, attributes TEXT, confidence REAL, entities INTEGER,
  documents INTEGER DEFAULT 0, degree INTEGER DEFAULT 0
);
CREATE TABLE document (
  d INTEGER PRIMARY KEY, batch_id TEXT, document_id TEXT, extraction_id TEXT, organization_id TEXT, content_hash TEXT,
  started_at TEXT, ended_at TEXT
);
CREATE TABLE mention (
  d INTEGER, n INTEGER, entity_id TEXT, start INTEGER, "end" INTEGER, quote TEXT, confidence REAL, chunk INTEGER
);
CREATE TABLE statement (
  d INTEGER, subject INTEGER, predicate TEXT, object INTEGER, literal TEXT, datatype TEXT, confidence REAL,
  start INTEGER, "end" INTEGER, quote TEXT, chunk INTEGER, subject_id TEXT, object_id TEXT
);
CREATE TABLE label (iri TEXT PRIMARY KEY, text TEXT);
"""
_INDEXES = """
CREATE INDEX statement_triple ON statement (subject, predicate, object, literal, datatype);
CREATE INDEX statement_document ON statement (d);
CREATE INDEX mention_node ON mention (n, d);
CREATE INDEX mention_document ON mention (d);
CREATE TABLE edge (
  e INTEGER PRIMARY KEY, subject INTEGER, predicate TEXT, object INTEGER, literal TEXT, datatype TEXT, confidence REAL,
  documents INTEGER
);
INSERT INTO edge (subject, predicate, object, literal, datatype, confidence, documents)
  SELECT subject, predicate, object, literal, datatype, max(confidence), count(DISTINCT d) FROM statement
  GROUP BY subject, predicate, object, literal, datatype ORDER BY subject, predicate, object, literal, datatype;
CREATE INDEX edge_subject ON edge (subject, predicate);
CREATE INDEX edge_object ON edge (object);
UPDATE node SET
  documents = (SELECT count(DISTINCT d) FROM mention WHERE mention.n = node.n),
  degree = (SELECT count(*) FROM edge WHERE edge.subject = node.n AND object IS NOT NULL)
         + (SELECT count(*) FROM edge WHERE edge.object = node.n AND edge.subject <> node.n);
"""


class MergedGraph:
    """The graph of batches, each thing once. ``is_merged`` says whether entities were merged across documents at all."""

    def __init__(self, store: Store, batch_ids: Sequence[str], merge: bool = True) -> None:
        """Read the batches, in this order.

        Args:
            store: Where they are.
            batch_ids: At least one batch or fan-out; a batch that was run without resolution keeps its documents' own entities.
            merge: Whether entities are merged at all.

        Raises BatchNotFoundError.
        """
        if not batch_ids:
            raise InvalidInputError([Problem("ID", "", "name at least one batch")])
        self.store = store
        self.batch_ids = tuple(dict.fromkeys(fan_outs.expand(store.database, batch_ids)))
        self.prefixes: dict[str, str] = {}
        self._merging = [each for each in self.batch_ids if merge and store.config(each).enable_entity_resolution]
        self.is_merged = len(self._merging) == len(self.batch_ids)
        # Without a name: a file that SQLite removes by itself, and that spills to the disk only where it must.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        self._fill()
        self._database.execute("COMMIT")
        self._database.executescript(_INDEXES)

    # --- What is read ---------------------------------------------------------------------------------------------------

    def count(self, table: str) -> int:
        """Return how many rows ``node``, ``edge``, ``statement``, ``document`` or ``mention`` has."""
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608

    def own_entities(self) -> int:
        """Return how many entities the documents have, each its own."""
        return int(self._database.execute("SELECT coalesce(sum(entities), 0) FROM node").fetchone()[0])

    def nodes(self, where: str = "", parameters: Sequence[Any] = ()) -> Iterator[Node]:
        """Yield the nodes by their first mention, or as the SQL of ``where`` has them."""
        rows = self.rows(f"SELECT * FROM node {where or 'ORDER BY n'}", parameters)  # noqa: S608
        for row in rows:
            yield Node(row[0], row[1], row[2], tuple(json.loads(row[3])), json.loads(row[4]), *row[5:])

    def edges(self, where: str = "", parameters: Sequence[Any] = ()) -> Iterator[Edge]:
        """Yield the edges by subject, predicate and object, or as the SQL of ``where`` has them."""
        rows = self.rows(
            "SELECT e, edge.subject, s.id, s.name, predicate, edge.object, o.id, coalesce(o.name, literal), datatype,"  # noqa: S608
            " edge.confidence, edge.documents FROM edge JOIN node s ON s.n = edge.subject LEFT JOIN node o ON o.n = edge.object"
            f" {where or 'ORDER BY e'}",
            parameters,
        )
        for row in rows:
            yield Edge(*row)

    def evidence(self, edge: Edge) -> Iterator[Evidence]:
        """Yield what documents say of an edge, in the order of the documents."""
        literal = edge.object_name if edge.object is None else None
        rows = self.rows(
            "SELECT batch_id, document_id, extraction_id, start, end, quote, chunk, confidence, subject_id, object_id"
            " FROM statement JOIN document USING (d) WHERE subject = ? AND predicate = ? AND object IS ? AND literal IS ?"
            " AND datatype IS ? ORDER BY d, start, end, statement.rowid",
            (edge.subject, edge.predicate, edge.object, literal, edge.datatype),
        )
        for row in rows:
            yield Evidence(*row)

    def mentions(self, node: Node) -> Iterator[Evidence]:
        """Yield where documents name a node, in the order of the documents."""
        rows = self.rows(
            "SELECT batch_id, document_id, extraction_id, start, end, quote, chunk, confidence, entity_id, NULL"
            " FROM mention JOIN document USING (d) WHERE n = ? ORDER BY d, start, end, mention.rowid",
            (node.number,),
        )
        for row in rows:
            yield Evidence(*row)

    def documents(self) -> Iterator[Document]:
        """Yield the extracted documents, in the order of the request."""
        for row in self.rows("SELECT * FROM document ORDER BY d"):
            number, batch_id, document_id, extraction_id, organization_id, content_hash, started_at, ended_at = row
            moments = datetime.fromisoformat(started_at), datetime.fromisoformat(ended_at)
            yield Document(number, batch_id, document_id, extraction_id, organization_id, content_hash, *moments)

    def relations(self, document: Document) -> Iterator[Stated]:
        """Yield what a document states, in its own order."""
        columns = "subject_id, predicate, object_id, literal, datatype, confidence, start, end, quote, chunk"
        for row in self.rows(f"SELECT {columns} FROM statement WHERE d = ? ORDER BY rowid", (document.number,)):  # noqa: S608
            yield Stated(*row)

    def extractions(self) -> Iterator[tuple[Document, StoredExtraction, dict[str, tuple[str, str]]]]:
        """Yield each document with its extraction and the canonical id and name of each of its own entities, by their ids."""
        documents = self.documents()
        for batch_id in self.batch_ids:
            for extraction, document in zip(self.store.extractions(batch_id), documents, strict=False):
                query = "SELECT DISTINCT entity_id, id, name FROM mention JOIN node USING (n) WHERE d = ?"
                yield document, extraction, {own: (id, name) for own, id, name in self.rows(query, (document.number,))}

    def read_sentences(self) -> None:
        """Add the table ``sentence`` of all documents, unless it exists: the sentences around quotes."""
        if self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sentence'").fetchone():
            return
        from tasks.extraction.chunking import split_sentences

        self._database.execute('CREATE TABLE sentence (d INTEGER, start INTEGER, "end" INTEGER, text TEXT)')
        self._database.execute("BEGIN")
        for block in blocks(self.documents(), BLOCK):
            for batch_id in dict.fromkeys(each.batch_id for each in block):
                numbers = {each.document_id: each.number for each in block if each.batch_id == batch_id}
                for document_id, text in graphs.texts(self.store.database, batch_id, list(numbers)).items():
                    spans = split_sentences(text)
                    rows = [(numbers[document_id], start, end, text[start:end]) for start, end in spans]
                    self._database.executemany("INSERT INTO sentence VALUES (?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")
        self._database.execute("CREATE INDEX sentence_place ON sentence (d, start)")

    def label(self, iri: str) -> str:
        """Return a class's or property's label from the batches' ontologies; without one, its local name in words."""
        row = self._database.execute("SELECT text FROM label WHERE iri = ?", (iri,)).fetchone()
        return str(row[0]) if row else local_name(iri)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        """Return the rows of a query over the tables ``node``, ``edge``, ``statement``, ``mention``, ``document``, ``label``."""
        return iter(self._database.execute(query, parameters))

    # --- How it is made -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        resolution = self._resolved()
        places: dict[str, int] = {}
        for batch_id in self.batch_ids:
            self._read_ontologies(batch_id)
            for block in blocks(self.store.extractions(batch_id), BLOCK):
                document_ids = [each.document_id for each in block]
                hashes = graphs.content_hashes(self.store.database, batch_id, document_ids)
                members = self._members(batch_id, block, resolution)
                for extraction in block:
                    number = self._add_document(batch_id, extraction, hashes)
                    own = extraction.result.graph.entities
                    if batch_id not in self._merging:
                        places = {entity.id: self._add_own(extraction.document_id, entity) for entity in own}
                    else:
                        places = {entity.id: members[extraction.document_id, entity.id] for entity in own}
                    self._add_graph(number, extraction.result, places)

    def _resolved(self) -> "Resolution | None":
        """Add the canonical entities: the stored ones, or, for several batches or one that isn't resolved, new ones."""
        if not self._merging:
            return None
        first = self._merging[0]
        if len(self._merging) == 1 and self.store.batch(first).resolved and graphs.count(self.store.database, first):
            # Else it hasn't come that far, its resolution failed, or it is older than these rows.
            self._add_canonical(graphs.entities(self.store.database, first))
            return None
        from tasks.extraction import resolve

        entities = (
            (each.document_id, each)
            for batch_id in self._merging
            for each in graphs.document_entities(self.store.database, batch_id)
        )
        ontologies = (content for batch_id in self._merging for content in graphs.ontologies(self.store.database, batch_id))
        resolution = resolve(entities, self.store.request(first).organization_id, ontologies)
        self._add_canonical(resolution.entities)
        resolution.close()
        return resolution

    def _members(
        self, batch_id: str, block: Sequence[StoredExtraction], resolution: "Resolution | None"
    ) -> dict[tuple[str, str], int]:
        """Return the number of the node of each entity of some documents, by document and entity."""
        if batch_id not in self._merging:
            return {}
        if resolution is None:
            found = graphs.members(self.store.database, batch_id, [each.document_id for each in block])
        else:
            found = {
                (each.document_id, entity.id): resolution.canonical_id(entity)
                for each in block
                for entity in each.result.graph.entities
            }
        numbers: dict[str, int] = {}
        for ids in blocks(dict.fromkeys(found.values()), 900):
            marks = ",".join("?" * len(ids))
            numbers |= dict(self.rows(f"SELECT id, n FROM node WHERE id IN ({marks})", ids))  # noqa: S608
        return {key: numbers[canonical_id] for key, canonical_id in found.items()}

    def _add_canonical(self, entities: Iterable[CanonicalEntity]) -> None:
        insert = "INSERT INTO node (n, id, name, types, attributes, confidence, entities) VALUES (?, ?, ?, ?, ?, ?, ?)"
        for number, each in enumerate(entities):
            lists = json.dumps(each.types), json.dumps(each.attributes)
            self._database.execute(insert, (number, each.id, each.name, *lists, each.confidence, each.entity_count))

    def _add_own(self, document_id: str, entity: Entity) -> int:
        """Add a document's own entity as a node; extractors may use one id in several documents."""
        taken = self._database.execute("SELECT 1 FROM node WHERE id = ?", (entity.id,)).fetchone()
        id = derived_id("knowledge_entity", document_id, entity.id) if taken else entity.id
        attributes = {key: [value] for key, value in entity.attributes.items()}
        added = self._database.execute(
            "INSERT INTO node (n, id, name, types, attributes, confidence, entities)"
            " VALUES ((SELECT coalesce(max(n) + 1, 0) FROM node), ?, ?, ?, ?, ?, 1)",
            (id, entity.name, json.dumps(entity.types), json.dumps(attributes), entity.confidence),
        )
        return int(added.lastrowid or 0)

    def _add_document(self, batch_id: str, extraction: StoredExtraction, hashes: dict[str, str]) -> int:
        added = self._database.execute(
            "INSERT INTO document (batch_id, document_id, extraction_id, organization_id, content_hash, started_at, ended_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                batch_id,
                extraction.document_id,
                extraction.extraction_id,
                extraction.organization_id,
                hashes[extraction.document_id],
                extraction.started_at.isoformat(),
                extraction.ended_at.isoformat(),
            ),
        )
        return int(added.lastrowid or 0)

    def _add_graph(self, document: int, result: ExtractionResult, places: dict[str, int]) -> None:
        mentions: list[tuple[Any, ...]] = []
        for entity in result.graph.entities:
            for each in entity.mentions:
                place = (each.start_char, each.end_char, each.text, each.confidence, each.chunk_index)
                mentions.append((document, places[entity.id], entity.id, *place))
            if not entity.mentions:
                # An extractor needn't say where; that the document names it is known all the same.
                mentions.append((document, places[entity.id], entity.id, None, None, entity.mention, entity.confidence, None))
        statements = []
        for relation in result.graph.relations:
            said = relation.evidence
            chunk = next((m[7] for m in mentions if said and m[3] is not None and said.start_char <= m[3] < said.end_char), None)
            statements.append(
                (
                    document,
                    places[relation.subject_id],
                    relation.predicate_iri,
                    None if relation.object_id is None else places[relation.object_id],
                    None if relation.object_id is not None else relation.literal_value or "",
                    relation.literal_type,
                    relation.confidence,
                    *((said.start_char, said.end_char, said.text) if said else (None, None, None)),
                    chunk,
                    relation.subject_id,
                    relation.object_id,
                )
            )
        self._database.executemany("INSERT INTO mention VALUES (?, ?, ?, ?, ?, ?, ?, ?)", mentions)
        self._database.executemany("INSERT INTO statement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", statements)

    def _read_ontologies(self, batch_id: str) -> None:
        from tasks.extraction import parse_ontology

        for content in graphs.ontologies(self.store.database, batch_id):
            for prefix, iri in _PREFIX.findall(content):
                if iri not in self.prefixes.values():
                    self.prefixes.setdefault(prefix, iri)
            try:
                ontology = parse_ontology(content)
            except OntologyParseError:
                continue
            labels = [(each.iri, each.label) for each in ontology.classes]
            labels += [(each.iri, each.label) for each in ontology.properties]
            self._database.executemany("INSERT OR IGNORE INTO label VALUES (?, ?)", labels)


# As Turtle, SPARQL and RDF/XML declare them.
_PREFIX = re.compile(r"""(?:@prefix|PREFIX|xmlns:)\s*([\w.-]*)\s*[:=]\s*[<"']([^<>"'\s]+)[>"']""", re.IGNORECASE)


def local_name(iri: str) -> str:
    """Return the last part of an IRI in words: ``https://example.org/a#birthPlace`` is ``birth place``."""
    last = re.split(r"[#/:]", iri.rstrip("#/:"))[-1]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", last)
    return " ".join(words if len(words) == 1 else [word.lower() if not word.isupper() else word for word in words]) or last
