"""A batch's graph as a file: Turtle, N-Quads, JSON-LD, CSV or Parquet, by the file's ending."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from compat.errors import InvalidInputError, Problem
from compat.store import Store
from compat.store.reading import StoredExtraction
from tasks.extraction import rdf

_RDF: dict[str, rdf.Format] = {".ttl": "turtle", ".nq": "nquads", ".jsonld": "json-ld"}
_TABLES = (".csv", ".parquet")
# One row a statement: an entity's types, its attributes, and the relations.
COLUMNS = (
    "documentId", "subjectId", "subject", "kind", "predicate", "objectId", "object", "datatype", "confidence", "evidence",
)  # fmt: skip


def export(store: Store, batch_id: str, file: Path) -> int:
    """Writes the graph of a batch, whole or not at all. Returns how many statements that were.

    Raises BatchNotFoundError, or InvalidInputError for an ending that names no format.
    """
    if file.suffix not in (*_RDF, *_TABLES):
        raise InvalidInputError([Problem("--to", str(file), "use an ending of " + ", ".join((*_RDF, *_TABLES)))])
    if not file.absolute().parent.is_dir():
        raise InvalidInputError([Problem("--to", str(file), f"there is no folder {file.absolute().parent}; make it first")])
    unfinished = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        write = _write_rdf if file.suffix in _RDF else _write_table
        written = write(store.extractions(batch_id), unfinished, file.suffix)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    return written


def _write_rdf(extractions: Iterable[StoredExtraction], file: Path, ending: str) -> int:
    dataset = rdf.to_dataset(
        rdf.Extraction(
            extraction_id=each.extraction_id,
            document_id=each.document_id,
            agent_id=each.organization_id,
            started_at=each.started_at,
            ended_at=each.ended_at,
            result=each.result,
        )
        for each in extractions
    )
    file.write_text(rdf.serialize(dataset, _RDF[ending]), encoding="utf-8")
    return sum(1 for _ in dataset.quads())


def _write_table(extractions: Iterable[StoredExtraction], file: Path, ending: str) -> int:
    import pandas as pd

    # Text throughout, so that a column is of one type whatever a batch holds.
    frame = pd.DataFrame([row for each in extractions for row in statements(each)], columns=list(COLUMNS))
    frame = frame.astype({name: "string" for name in COLUMNS if name != "confidence"}).astype({"confidence": "float64"})
    if ending == ".csv":
        frame.to_csv(file, index=False, encoding="utf-8")
    else:
        frame.to_parquet(file, index=False)
    return len(frame)


def statements(extraction: StoredExtraction) -> Iterator[tuple[Any, ...]]:
    """One document's graph as rows of ``COLUMNS``; ``kind`` is ``type``, ``attribute`` or ``relation``."""
    graph, document_id = extraction.result.graph, extraction.document_id
    entities = {entity.id: entity for entity in graph.entities}
    for entity in graph.entities:
        about = (document_id, entity.id, entity.name)
        for iri in entity.types:
            yield (*about, "type", "rdf:type", None, iri, None, entity.confidence, entity.mention)
        for key, value in entity.attributes.items():
            yield (*about, "attribute", key, None, str(value), None, entity.confidence, entity.mention)
    for relation in graph.relations:
        if relation.object_id is not None:
            target: tuple[Any, ...] = (relation.object_id, entities[relation.object_id].name, None)
        else:
            target = (None, relation.literal_value, relation.literal_type)
        evidence = relation.evidence.text if relation.evidence else None
        subject = entities[relation.subject_id].name
        yield (
            document_id,
            relation.subject_id,
            subject,
            "relation",
            relation.predicate_iri,
            *target,
            relation.confidence,
            evidence,
        )
