"""Where documents come from: lines, folders and files behind paths and URLs, SQL queries, the packaged sample."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from compat.errors import InvalidInputError
from flows.documents import Documents, Row, refused

SAMPLE = "sample"
ONTOLOGY_FILE = "ontology.ttl"
DOCUMENTS_FILE = "documents.jsonl"
# An address that holds a secret is said by the name of the environment variable that holds it.
VARIABLE = "env:"
DATABASES = ("sqlite:", "postgresql")
# Rows of a table in memory at a time.
ROWS = 200
# Characters in a field of a CSV. What is longer is no document but a quote that nobody closed, and would be read to the end.
FIELD = 2**28


@dataclass(frozen=True)
class Columns:
    """What a document's id and text are called in its source."""

    document_id: str = "documentId"
    text: str = "text"


DEFAULT_COLUMNS = Columns()


def load(source: str, ontology: str = "", columns: Columns = DEFAULT_COLUMNS, query: str = "") -> Documents:
    """Reads a source to its end, a few documents in memory at a time.

    Args:
        source: A folder with ``documents.jsonl`` or with ``*.txt`` and ``*.md``; a ``.jsonl``, ``.csv`` or ``.parquet`` file;
            either one as a path or as a URL that fsspec opens (``https://…``, ``s3://…``); a database's URL, with a
            query; JSON lines themselves; ``sample``; or ``env:NAME``, for what that environment variable says.
        ontology: The Turtle file, in any of these ways; without it, the one that lies in the source's folder.
        columns: What a document's id and text are called.
        query: The SQL whose rows are the documents. Without ORDER BY no two batches need be the same.

    Raises:
        InvalidInputError: What is missing or malformed, with the file and the line or row.
    """
    source, ontology = _named("SOURCE", source), _named("ontology", ontology)
    if source == SAMPLE and not Path(SAMPLE).exists():
        with as_file(files("deployments") / SAMPLE) as folder:
            return load(str(folder), ontology)
    if query or source.startswith(DATABASES):
        return Documents(_from_query(source, query, columns), _ontology(ontology, None))
    if source.lstrip().startswith("{"):
        lines = source.encode("utf-8", "surrogatepass").splitlines(keepends=True)
        return Documents(_from_lines("SOURCE", lines, columns), _ontology(ontology, None))
    place = _place("SOURCE", source)
    if not place.exists():
        raise refused("SOURCE", source, "no such file or folder; name one, or say: sample")
    if place.is_folder():
        return Documents(_from_folder(place, columns), _ontology(ontology, place))
    reader = _READERS.get(place.suffix)
    if reader is None:
        raise refused("SOURCE", source, f"isn't a folder and doesn't end in {', '.join(_READERS)}")
    return Documents(reader(place, columns), _ontology(ontology, place.parent))


# --- Files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A file or folder, wherever fsspec finds it."""

    system: AbstractFileSystem
    path: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def parent(self) -> "Place":
        return Place(self.system, self.system._parent(self.path))

    def child(self, name: str) -> "Place":
        return Place(self.system, f"{self.path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        with self.readable():
            return bool(self.system.exists(self.path))

    def is_folder(self) -> bool:
        # Asked by the name first: on the web every page could be a folder.
        with self.readable():
            return self.suffix not in _READERS and bool(self.system.isdir(self.path))

    def children(self, *suffixes: str) -> list["Place"]:
        with self.readable():
            places = [Place(self.system, str(path)) for path in self.system.ls(self.path, detail=False)]
        return sorted((place for place in places if place.suffix in suffixes), key=lambda place: place.name)

    def open(self) -> Any:
        """A binary file object."""
        with self.readable():
            return self.system.open(self.path, "rb")

    def text(self) -> str:
        with self.open() as file, self.readable():
            content: bytes = file.read()
        return _decoded(content, self.name, 1)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Turns what a file system says into a refusal that names the file."""
        try:
            yield
        except OSError as error:
            said = error.strerror or f"{type(error).__name__}: {error}"
            raise refused(self.name, self.path, f"can't be read ({said}); mend the path or its permissions") from None


def _named(field: str, address: str) -> str:
    """The address itself, or the one that an environment variable holds."""
    if not address.startswith(VARIABLE):
        return address
    name = address.removeprefix(VARIABLE)
    found = os.environ.get(name)
    if not found:
        raise refused(field, address, f"no environment variable {name} here; set it where the batch runs")
    return found


def _place(field: str, address: str) -> Place:
    try:
        return Place(*url_to_fs(address))
    except ImportError as error:
        raise refused(field, address, f"{error}; its file system is a package of its own") from None
    except ValueError as error:
        raise refused(field, address, f"{error}; name a path or a URL that fsspec knows") from None


def _ontology(address: str, folder: Place | None) -> str:
    if address:
        place = _place("ontology", address)
        if not place.exists():
            raise refused("ontology", address, "no such file; name the Turtle file")
        return place.text()
    if folder is None:
        raise refused("ontology", address, "these documents lie in no folder that could hold one; name it: --ontology FILE")
    turtles = folder.children(".ttl")
    for turtle in turtles:
        if turtle.name == ONTOLOGY_FILE or len(turtles) == 1:
            return turtle.text()
    what = f"has {len(turtles)} .ttl files" if turtles else "has no .ttl file"
    raise refused("ontology", folder.path, f"{what}; name the ontology with --ontology FILE")


def _from_folder(folder: Place, columns: Columns) -> Iterator[Row]:
    lines = folder.child(DOCUMENTS_FILE)
    if lines.exists():
        return _from_jsonl(lines, columns)
    texts = folder.children(".txt", ".md")
    if not texts:
        raise refused("SOURCE", folder.path, f"holds no {DOCUMENTS_FILE}, no *.txt and no *.md; put documents there")
    return (Row(place.name, place.name, place.text()) for place in texts)


def _decoded(content: bytes, name: str, line: int) -> str:
    """A file's text from this line on. Whoever saves as UTF-8 on Windows puts a mark in front of the first."""
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += content[: error.start].count(b"\n")
        raise refused(f"{name} line {line}", content[error.start : error.end], "isn't UTF-8; save the file as UTF-8") from None


# --- Lines and tables -------------------------------------------------------------------------------------------------


def _from_jsonl(place: Place, columns: Columns) -> Iterator[Row]:
    with place.open() as file, place.readable():
        yield from _from_lines(place.name, file, columns)


def _from_lines(name: str, lines: Iterable[bytes], columns: Columns) -> Iterator[Row]:
    # Line by line rather than through pandas, which names no line that it can't read.
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        said = _decoded(line, name, number)
        if not said.strip():
            continue
        try:
            row = json.loads(said)
        except ValueError as error:
            raise refused(where, said, f"isn't JSON ({error}); mend or remove the line") from None
        if not isinstance(row, dict):
            raise refused(where, row, f'isn\'t an object; write {{"{columns.document_id}": …, "{columns.text}": …}}')
        for key in (columns.document_id, columns.text):
            if key not in row:
                raise refused(f"{where} {key}", sorted(row), "is missing; add it")
        if columns == DEFAULT_COLUMNS:
            # A slip of the pen; one who names columns knows of the others.
            for key in sorted(row.keys() - {columns.document_id, columns.text}):
                raise refused(f"{where} {key}", row[key], "unknown key; remove it or mend its spelling")
        yield Row(where, row[columns.document_id], row[columns.text])


def _from_csv(place: Place, columns: Columns) -> Iterator[Row]:
    # Not through pandas, which shifts, fills or drops what doesn't fit its header. The limit is the process's, so only raised.
    csv.field_size_limit(max(csv.field_size_limit(), FIELD))
    with place.open() as file, place.readable():
        reader = csv.reader(_text_lines(place.name, file), strict=True)
        header: list[str] = []
        number = 0
        try:
            header = next(reader, [])
            _check_columns(place.name, header, columns)
            document_id, text = header.index(columns.document_id), header.index(columns.text)
            began = reader.line_num + 1
            for fields in reader:
                # An empty line is no row.
                if fields:
                    number += 1
                    if len(fields) != len(header):
                        advice = f"has {len(fields)} fields, the header {len(header)}; a text with commas wants quotes around it"
                        raise refused(f"{place.name} row {number} (line {began})", fields, advice)
                    yield Row(f"{place.name} row {number}", fields[document_id], fields[text])
                began = reader.line_num + 1
        except csv.Error as error:
            # The line where the row begins is where a quote is missing, whatever line the reader has come to.
            where = f"{place.name} row {number + 1} (line {began})" if header else f"{place.name} line 1"
            raise refused(where, place.path, f"isn't CSV ({error}); mend its quotes") from None


def _text_lines(name: str, lines: Iterable[bytes]) -> Iterator[str]:
    """A file's lines as text, ends and all, each decoded by itself so that one that can't be is named."""
    for number, line in enumerate(lines, start=1):
        # Old spreadsheets end lines with a carriage return alone.
        yield from io.StringIO(_decoded(line, name, number), newline="")


def _from_parquet(place: Place, columns: Columns) -> Iterator[Row]:
    import pyarrow.parquet

    number = 0
    with place.open() as file, _table(place, lambda: number):
        # pandas reads such a file whole; this is what it reads it with. A row group may be the whole file as well, so page by
        # page through a buffer.
        table = pyarrow.parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        _check_columns(place.name, table.schema_arrow.names, columns)
        for batch in table.iter_batches(ROWS, columns=[columns.document_id, columns.text]):
            for row in batch.to_pylist():
                number += 1
                yield Row(f"{place.name} row {number}", row[columns.document_id], row[columns.text])


_READERS: dict[str, Callable[[Place, Columns], Iterator[Row]]] = {
    ".jsonl": _from_jsonl,
    ".csv": _from_csv,
    ".parquet": _from_parquet,
}


@contextmanager
def _table(place: Place, row: Callable[[], int]) -> Iterator[None]:
    """Turns what a table's reader says into a refusal that names the file and the last row that was read."""
    try:
        with place.readable():
            yield
    except InvalidInputError:
        raise
    except ValueError as error:
        advice = f"can't be read ({str(error).strip()}); mend the file"
        raise refused(f"{place.name} after row {row()}", place.path, advice) from None


def _check_columns(name: str, there: list[str], columns: Columns) -> None:
    for key in (columns.document_id, columns.text):
        if key not in there:
            advice = "no such column; name those of ids and texts with --id-column and --text-column"
            raise refused(f"{name} {key}", there, advice)
        if there.count(key) > 1:
            raise refused(f"{name} {key}", there, "names more than one column; give each a name of its own")


# --- Databases --------------------------------------------------------------------------------------------------------


def _from_query(address: str, query: str, columns: Columns) -> Iterator[Row]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    if not query:
        raise refused("query", query, "a database wants a query whose rows are the documents; give --query SELECT …")
    try:
        url = make_url(address)
        shown = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            # It would be made, and be empty.
            raise refused("SOURCE", shown, "no such database file; mend the URL: sqlite:///FILE")
        engine = create_engine(url, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError):
        raise refused(
            "SOURCE", address.partition(":")[0] + ":…", "a query wants a database's URL, as SQLAlchemy has it"
        ) from None
    except ModuleNotFoundError as error:
        raise refused("SOURCE", shown, f"needs the package {error.name}; install it where the batch runs") from None
    try:
        # Never committed. A colon is a parameter's to SQLAlchemy, and a text's or a cast's here.
        with engine.connect().execution_options(yield_per=ROWS) as connection:
            result = connection.execute(text(query.replace(":", r"\:")))
            if not result.returns_rows:
                raise refused("query", query, "gives no rows; it has to be a SELECT")
            _check_columns("query", list(result.keys()), columns)
            for number, row in enumerate(result.mappings(), start=1):
                yield Row(f"query row {number}", row[columns.document_id], row[columns.text])
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise refused("query", query, f"failed at {shown} ({said}); mend it, or see that the database runs") from None
