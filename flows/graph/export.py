"""The merged graph of one or more batches as a file, in the format of its ending."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from compat.errors import InvalidInputError, Problem
from compat.store import Store
from flows.graph import rdf, tables, tools
from flows.graph.merged import MergedGraph


@dataclass(frozen=True)
class Options:
    """How a graph is written.

    ``evidence``: the evidence in formats that don't name graphs too. ``tables``: two tables, of nodes and edges, in place of
    one of statements. ``raw``: cells of a CSV as they are, whatever a spreadsheet would make of them.
    """

    evidence: bool = False
    tables: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Written:
    """What was written: how many statements, rows, or nodes and edges, and the files."""

    count: int
    what: str
    files: tuple[Path, ...]


# What each ending stands for; the command's help and the error for another one name them from here.
FORMATS = {
    ".ttl": "Turtle", ".nt": "N-Triples", ".rdf": "RDF/XML", ".trig": "TriG", ".nq": "N-Quads", ".jsonld": "JSON-LD",
    ".csv": "CSV", ".parquet": "Parquet", ".graphml": "GraphML", ".json": "node-link JSON", ".neo4j.csv": "Neo4j import",
    ".cypher": "Cypher", ".html": "a page to look at", ".svg": "a picture of the 60 most connected entities",
    ".jsonl": "the documents' texts with their triples",
}  # fmt: skip
Rdf = Callable[[MergedGraph, TextIO, bool, bool], int]
# The writer, and whether it names graphs.
_RDF: dict[str, tuple[Rdf, bool]] = {
    ".ttl": (rdf.write_turtle, False),
    ".nt": (rdf.write_lines, False),
    ".rdf": (rdf.write_rdf_xml, False),
    ".trig": (rdf.write_turtle, True),
    ".nq": (rdf.write_lines, True),
    ".jsonld": (rdf.write_json_ld, True),
}
_TOOLS = {".graphml": tools.write_graphml, ".json": tools.write_node_link, ".cypher": tools.write_cypher}


def export(store: Store, batch_ids: Sequence[str], file: Path, options: Options | None = None, merge: bool = True) -> Written:
    """Write the graph of the batches, whole or not at all.

    Raises BatchNotFoundError, or InvalidInputError for an ending that names no format, or a folder that isn't there.
    """
    check(file)
    return write(MergedGraph(store, batch_ids, merge), file, options or Options())


def check(file: Path) -> str:
    """Return the ending that names the file's format, upper or lower case. Raises InvalidInputError if there is none."""
    ending = next((each for each in sorted(FORMATS, key=len, reverse=True) if file.name.lower().endswith(each)), None)
    if ending is None:
        known = ", ".join(f"{each} ({name})" for each, name in FORMATS.items())
        raise InvalidInputError([Problem("--to", str(file), f"use an ending of {known}")])
    if os.path.isdir(file):
        raise InvalidInputError([Problem("--to", str(file), "is a folder; name a file in it")])
    if not os.path.isdir(file.absolute().parent):
        raise InvalidInputError([Problem("--to", str(file), f"there is no folder {file.absolute().parent}; make it first")])
    return ending


def write(graph: MergedGraph, file: Path, options: Options) -> Written:
    """Write a graph that was read already, in the format of the file's ending."""
    ending = check(file)
    files: tuple[Path, ...] = (file,)
    if ending == ".neo4j.csv" or (options.tables and ending in (".csv", ".parquet")):
        stem, last = file.name[: -len(ending)], ".neo4j" if ending == ".neo4j.csv" else ""
        second = "relationships" if last else "edges"
        files = tuple(file.with_name(f"{stem}{last}.{part}{file.suffix.lower()}") for part in ("nodes", second))
    unfinished = tuple(each.with_name(f".{each.name}.{uuid4().hex}") for each in files)
    try:
        count, what = _write(graph, ending, unfinished, options)
        for each, finished in zip(unfinished, files, strict=True):
            os.replace(each, finished)
    except OSError as error:
        advice = f"can't be written ({error.strerror or type(error).__name__}); name another file"
        raise InvalidInputError([Problem("--to", str(file), advice)]) from None
    finally:
        for each in unfinished:
            with suppress(OSError):
                each.unlink(missing_ok=True)
    return Written(count, what, files)


def _write(graph: MergedGraph, ending: str, files: tuple[Path, ...], options: Options) -> tuple[int, str]:
    if ending in (".csv", ".parquet"):
        form = (ending == ".parquet", options.raw)
        if not options.tables:
            return tables.write(tables.statements(graph), tables.STATEMENTS, files[0], *form), "statements"
        count = tables.write(tables.nodes(graph), tables.NODES, files[0], *form)
        return count + tables.write(tables.edges(graph), tables.EDGES, files[1], *form), "nodes and edges"
    # Half a surrogate pair, which no file can hold, becomes a question mark.
    with files[0].open("w", encoding="utf-8", errors="replace", newline="\n") as out:
        if ending in _RDF:
            writer, named = _RDF[ending]
            return writer(graph, out, options.evidence, named), "statements"
        if ending == ".neo4j.csv":
            with files[1].open("w", encoding="utf-8", errors="replace", newline="\n") as second:
                return tools.write_neo4j(graph, out, second), "nodes and relationships"
        if ending == ".jsonl":
            return _write_rows(graph, out), "texts"
        if ending == ".html":
            from flows.graph import page

            return page.write_page(graph, out), "nodes"
        if ending == ".svg":
            from flows.graph import picture

            drawn = picture.svg(graph)
            out.write(drawn)
            return drawn.count("<line "), "relations"
        return _TOOLS[ending](graph, out), "nodes and edges"


def _write_rows(graph: MergedGraph, out: TextIO) -> int:
    """Write each document's text with its own triples, as JSON lines: a source, and rows to correct and train on.

    A document that failed has no ``triples``, which an empty list would claim to have been looked for.
    """
    stated = _triples(graph)
    following = next(stated, None)
    count = 0
    for batch_id in graph.batch_ids:
        # Ids of documents are a batch's own.
        batch = {} if len(graph.batch_ids) == 1 else {"batchId": batch_id}
        for document in graph.store.request(batch_id).documents:
            line: dict[str, Any] = {"documentId": document.document_id, "text": document.text, **batch}
            if following is not None and following[0] == (batch_id, document.document_id):
                line["triples"] = following[1]
                following = next(stated, None)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def _triples(graph: MergedGraph) -> Iterator[tuple[tuple[str, str], list[dict[str, str]]]]:
    """Yield each extracted document's key and relations: names as the document has them, the property by its label."""
    for document, extraction, _ in graph.extractions():
        names = {each.id: each.name for each in extraction.result.graph.entities}
        triples = [
            {
                "sub": names[each.subject_id],
                "rel": graph.label(each.predicate_iri),
                "obj": names[each.object_id] if each.object_id is not None else str(each.literal_value),
            }
            for each in extraction.result.graph.relations
        ]
        yield (document.batch_id, document.document_id), triples
