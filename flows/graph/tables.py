"""A merged graph as tables, streamed: one of statements, or one of nodes and one of edges; as CSV or Parquet."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compat.store.sql import blocks
from flows.graph.merged import MergedGraph

Column = tuple[str, type]
# One row a statement of a document: an entity's types, its attributes, and the relations. Ids without "canonical" are the
# document's own.
STATEMENTS: tuple[Column, ...] = (
    ("documentId", str), ("subjectId", str), ("subject", str), ("kind", str), ("predicate", str), ("objectId", str),
    ("object", str), ("datatype", str), ("confidence", float), ("evidence", str), ("batchId", str), ("canonicalSubjectId", str),
    ("canonicalSubject", str), ("canonicalObjectId", str), ("canonicalObject", str), ("predicateLabel", str),
    ("objectLabel", str), ("startChar", int), ("endChar", int), ("chunkIndex", int),
)  # fmt: skip
NODES: tuple[Column, ...] = (
    ("id", str), ("name", str), ("type", str), ("typeLabel", str), ("types", str), ("documents", int), ("entities", int),
    ("degree", int), ("confidence", float), ("attributes", str),
)  # fmt: skip
# Literals are edges too, without an objectId. The evidence is that of the most certain statement.
EDGES: tuple[Column, ...] = (
    ("subjectId", str), ("subject", str), ("predicate", str), ("predicateLabel", str), ("objectId", str), ("object", str),
    ("datatype", str), ("confidence", float), ("documents", int), ("evidence", str), ("documentId", str), ("startChar", int),
    ("endChar", int),
)  # fmt: skip
# What a spreadsheet takes for a formula begins with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
ROWS = 2_000


def write(rows: Iterator[tuple[Any, ...]], columns: tuple[Column, ...], file: Path, parquet: bool, raw: bool) -> int:
    """Write the rows as Parquet or CSV. Returns how many they were.

    Cells of a CSV that a spreadsheet would run get an apostrophe in front, unless it is to be ``raw``.
    """
    return _write_parquet(rows, columns, file) if parquet else _write_csv(rows, columns, file, raw)


def _write_csv(rows: Iterator[tuple[Any, ...]], columns: tuple[Column, ...], file: Path, raw: bool) -> int:
    written = 0
    with file.open("w", encoding="utf-8", errors="replace", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([name for name, _ in columns])
        for row in rows:
            writer.writerow(row if raw else [_neutral(cell) for cell in row])
            written += 1
    return written


def _neutral(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _is_number(cell):
        return cell
    return "'" + cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()


def _write_parquet(rows: Iterator[tuple[Any, ...]], columns: tuple[Column, ...], file: Path) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns])
    written = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for block in blocks(rows, ROWS):
            arrays = [pa.array([row[place] for row in block], kind.type) for place, kind in enumerate(schema)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(block)
    return written


def nodes(graph: MergedGraph) -> Iterator[tuple[Any, ...]]:
    """Yield the canonical entities as rows of ``NODES``; several types are parted by spaces, attributes are JSON."""
    for node in graph.nodes():
        main = node.types[0] if node.types else None
        yield (
            node.id,
            node.name,
            main,
            graph.label(main) if main else None,
            " ".join(node.types),
            node.documents,
            node.entities,
            node.degree,
            node.confidence,
            json.dumps(node.attributes, ensure_ascii=False),
        )


def edges(graph: MergedGraph) -> Iterator[tuple[Any, ...]]:
    """Yield the triples as rows of ``EDGES``."""
    for edge in graph.edges():
        best = max(graph.evidence(edge), key=lambda each: each.confidence)
        yield (
            edge.subject_id,
            edge.subject_name,
            edge.predicate,
            graph.label(edge.predicate),
            edge.object_id,
            edge.object_name,
            edge.datatype,
            edge.confidence,
            edge.documents,
            best.quote,
            best.document_id,
            best.start,
            best.end,
        )


def statements(graph: MergedGraph) -> Iterator[tuple[Any, ...]]:
    """Yield what each document says as rows of ``STATEMENTS``; ``kind`` is ``type``, ``attribute`` or ``relation``."""
    for document, extraction, canonical in graph.extractions():
        entities = {entity.id: entity for entity in extraction.result.graph.entities}
        for entity in entities.values():
            about = (document.document_id, entity.id, entity.name)
            first = entity.mentions[0] if entity.mentions else None
            said = (entity.confidence, entity.mention, document.batch_id, *canonical[entity.id], None, None)
            span = (first.start_char, first.end_char, first.chunk_index) if first else (None, None, None)
            for iri in entity.types:
                yield (*about, "type", "rdf:type", None, iri, None, *said, "type", graph.label(iri), *span)
            for key, value in entity.attributes.items():
                yield (*about, "attribute", key, None, str(value), None, *said, key, None, *span)
        for row in graph.relations(document):
            own = entities[row.object_id].name if row.object_id is not None else row.literal
            yield (
                document.document_id,
                row.subject_id,
                entities[row.subject_id].name,
                "relation",
                row.predicate,
                row.object_id,
                own,
                row.datatype,
                row.confidence,
                row.quote,
                document.batch_id,
                *canonical[row.subject_id],
                *(canonical[row.object_id] if row.object_id is not None else (None, None)),
                graph.label(row.predicate),
                None,
                row.start,
                row.end,
                row.chunk,
            )
