"""Where documents come from: lines, files and folders behind paths and URLs, SQL queries, stdin, the packaged sample."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath

from flows.sources import ontologies
from flows.sources.allowed import Allowed
from flows.sources.documents import Documents, Reading, Row, invalid
from flows.sources.folders import File, files_below, read_files, read_folder
from flows.sources.places import Address, Place, address_of, bounded, place_of
from flows.sources.queries import DATABASE, read_query
from flows.sources.tables import DEFAULT_COLUMNS, READERS, Columns, read_lines
from flows.sources.texts import ENDINGS

__all__ = ["DEFAULT_COLUMNS", "SAMPLE", "STDIN", "Columns", "load"]

SAMPLE = "sample"
STDIN = "-"


def load(
    source: str, ontology: str = "", columns: Columns = DEFAULT_COLUMNS, query: str = "", allowed: Allowed | None = None
) -> Documents:
    """Read a source to its end, a few documents in memory at a time.

    Args:
        source: A folder with ``documents.jsonl``, or with documents of any kind in it and below it; a table (``.jsonl``,
            ``.csv``, ``.tsv``, each also with ``.gz``, and ``.parquet``) or a document (``.txt``, ``.pdf``, …); a pattern
            (``reports/*.pdf``); each as a path or as a URL that fsspec opens (``https://…``, ``s3://…``); a database's
            URL, with a query; JSON lines themselves, or ``-`` for those on stdin; ``sample``; or ``env:NAME``, for the
            value of that environment variable.
        ontology: Its file, as a path, URL or env:NAME; without it, the one in the source's folder.
        columns: The names of a document's id and text, and the delimiter of a CSV.
        query: The SQL whose rows are the documents. Without ORDER BY, the order may differ from batch to batch.
        allowed: What may be read; without it, whatever this process can read.

    Returns:
        The documents. ``reading.notes()`` says which files and columns were not read.

    Raises:
        InvalidInputError: Something is missing or malformed; the error names the file and the line or row.
    """
    address, named = address_of("SOURCE", source, allowed), address_of("ontology", ontology, allowed)
    if not address.value.strip():
        raise invalid("SOURCE", address.shown, "is empty; name a folder, a file or a URL, . for this folder, or say: sample")
    if address.value == SAMPLE and not Path(SAMPLE).exists():
        with as_file(files("deployments") / SAMPLE) as folder:
            return load(str(folder), ontology, allowed=allowed)
    reading = Reading()
    if query or DATABASE.match(address.value):
        return _documents(read_query(address, query, columns, reading), _named(named), reading)
    if address.value == STDIN:
        lines: Iterator[bytes] = bounded("stdin", sys.stdin.buffer)
        return _documents(read_lines("stdin", lines, columns, reading), _named(named), reading)
    if address.value.lstrip().startswith("{"):
        lines = iter(address.value.encode("utf-8", "surrogatepass").splitlines(keepends=True))
        return _documents(read_lines("SOURCE", lines, columns, reading), _named(named), reading)
    place = place_of(address)
    # On the web, ? begins a key.
    pattern = "*[" if "://" in place.path else "*?["
    if any(letter in place.path for letter in pattern) and not place.exists():
        return _of_pattern(place, named, columns, reading)
    if not place.exists():
        raise invalid("SOURCE", address.shown, "no such file or folder; name one, or say: sample")
    known = (*READERS, *ENDINGS)
    if place.is_folder(known):
        inside = files_below(place, reading)
        found = _named(named) if named.value else ontologies.beside(place, _top(inside))
        used = found.place or (place_of(named) if named.value else None)
        return _documents(read_folder(place, inside, used, columns, reading), found, reading)
    if place.suffix not in known:
        raise invalid("SOURCE", address.shown, f"isn't a folder and doesn't end in {', '.join(known)}")
    found = _named(named) if named.value else _in_folder(place.parent)
    return _documents(_of_file(File(place.label, place), columns, reading), found, reading)


def _documents(rows: Iterator[Row], ontology: ontologies.Found, reading: Reading) -> Documents:
    return Documents(rows, ontology.content, reading, ontology.shown)


def _of_file(file: File, columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield what a file that was named alone holds; if that can't be read, there is no batch."""
    yield from read_files([file], columns, reading)
    if (reason := reading.not_read.get(file.name)) is not None:
        raise invalid("SOURCE", file.place.shown, reason)


def _of_pattern(place: Place, named: Address, columns: Columns, reading: Reading) -> Documents:
    matches = place.matches()
    if not matches:
        raise invalid("SOURCE", place.shown, "no file matches; correct the pattern, and put quotes around it")
    parts = PurePosixPath(place.path).parts
    base = parts[: next(number for number, part in enumerate(parts) if any(letter in part for letter in "*?["))]
    folder = replace(place, path=place.system.sep.join(base).replace("//", "/", 1), shown=place.shown)
    inside = [File(str(PurePosixPath(match.path).relative_to(PurePosixPath(*base))), match) for match in matches]
    found = _named(named) if named.value else _in_folder(folder)
    used = place_of(named).path if named.value else (found.place.path if found.place else "")
    documents = [file for file in inside if file.place.path != used]
    result = _documents(read_files(documents, columns, reading), found, reading)
    if not len(result):
        raise invalid("SOURCE", place.shown, f"none of its files is a document; {'; '.join(reading.notes())}")
    return result


def _named(address: Address) -> ontologies.Found:
    if not address.value:
        raise invalid("ontology", "", "these documents aren't in a folder that could hold one; name it: --ontology FILE")
    return ontologies.named(address)


def _in_folder(folder: Place) -> ontologies.Found:
    return ontologies.beside(folder, [entry.place for entry in folder.entries() if not entry.is_folder])


def _top(inside: list[File]) -> list[Place]:
    return [file.place for file in inside if "/" not in file.name]
