"""Where documents come from: lines, folders and files behind paths and URLs, SQL queries, the packaged sample."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
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
DATABASE = re.compile(r"(sqlite|postgres(ql)?)(\+\w+)?://")
# A password in a URL that isn't a JSON line: between a colon and the last @, since who writes one unescaped may use both a / and
# an @ in it; digits up to a / are a port.
_USERINFO = r"(://[^/?#@\s]*:)(?!\d*(?:[/?#]|$)).*@"
PASSWORD = rf"^\s*[^{{\s].*(?:{_USERINFO}|[?&]password=)"
# Rows of a table in memory at a time.
ROWS = 200
# Characters in a field of a CSV. What is longer is no document but a quote that nobody closed, and would be read to the end.
FIELD = 2**28
# Bytes of a file that are read at a time.
BUFFER = 2**20


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
    address, turtle = _address("SOURCE", source), _address("ontology", ontology)
    if address.value == SAMPLE and not Path(SAMPLE).exists():
        with as_file(files("deployments") / SAMPLE) as folder:
            return load(str(folder), ontology)
    if query or DATABASE.match(address.value):
        return Documents(_from_query(address, query, columns), _ontology(turtle, None))
    if address.value.lstrip().startswith("{"):
        lines = address.value.encode("utf-8", "surrogatepass").splitlines(keepends=True)
        return Documents(_from_lines("SOURCE", lines, columns), _ontology(turtle, None))
    place = _place(address)
    if not place.exists():
        raise refused("SOURCE", address.shown, "no such file or folder; name one, or say: sample")
    if place.is_folder():
        return Documents(_from_folder(place, columns), _ontology(turtle, place))
    reader = _READERS.get(place.suffix)
    if reader is None:
        raise refused("SOURCE", address.shown, f"isn't a folder and doesn't end in {', '.join(_READERS)}")
    return Documents(reader(place, columns), _ontology(turtle, place.parent))


def has_password(address: str) -> bool:
    """Whether an address says a password to whoever reads it."""
    return re.search(PASSWORD, address) is not None


def without_secrets(address: str) -> str:
    """An address as errors may say it: no password, and of a URL nothing behind its ``?``, where keys and signatures stand."""
    hidden = re.sub(_USERINFO, r"\1***@", address)
    return re.sub(r"\?.*", "?…", hidden) if "://" in address else hidden


# --- Files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """Where something lies, and how errors say so: as the caller wrote it, without a secret."""

    field: str
    value: str
    shown: str

    @property
    def is_secret(self) -> bool:
        return self.shown != self.value


@dataclass(frozen=True)
class Place:
    """A file or folder, wherever fsspec finds it. ``shown`` is what errors call it; of a secret one they say nothing else."""

    system: AbstractFileSystem
    path: str
    shown: str
    is_secret: bool

    @property
    def name(self) -> str:
        # On the web a key may follow the name.
        return PurePosixPath(self.path.partition("?")[0] if "://" in self.path else self.path).name

    @property
    def label(self) -> str:
        return self.shown if self.is_secret else self.name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Place":
        path = self.system._parent(self.path)
        return replace(self, path=path, shown=self.shown if self.is_secret else path)

    def child(self, name: str) -> "Place":
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", shown=f"{self.shown.rstrip('/')}/{name}")

    def exists(self) -> bool:
        with self.readable():
            try:
                # Not `exists`, for which whatever is away or forbidden isn't there.
                self.system.info(self.path)
            except FileNotFoundError as error:
                if _reason(error) is error:
                    return False
                raise
        return True

    def is_folder(self) -> bool:
        # Asked by the name first: on the web every page could be a folder.
        with self.readable():
            return self.suffix not in _READERS and bool(self.system.isdir(self.path))

    def children(self, *suffixes: str) -> list["Place"]:
        with self.readable():
            paths = [str(path) for path in self.system.ls(self.path, detail=False)]
        places = [replace(self, path=path, shown=f"{self.shown.rstrip('/')}/{PurePosixPath(path).name}") for path in paths]
        return sorted((place for place in places if place.suffix in suffixes), key=lambda place: place.name)

    def open(self) -> Any:
        """A binary file object."""
        with self.readable():
            # Buffered here: what comes in one stream can't be gone back in, as fsspec does to find a line's end.
            return io.BufferedReader(self.system.open(self.path, "rb"), BUFFER)

    def text(self) -> str:
        with self.open() as file, self.readable():
            content: bytes = file.read()
        return _decoded(content, self.label, 1)

    @contextmanager
    def readable(self, where: Callable[[], str] | None = None) -> Iterator[None]:
        """Turns what a file system or a file's reader says into a refusal that names the file, or where in it that was."""
        try:
            yield
        except InvalidInputError:
            raise
        except Exception as error:
            if not _is_theirs(error):
                raise
            said = _said(_reason(error), self.is_secret)
            advice = f"can't be read ({said}); mend the file, its path or its permissions"
            raise refused(where() if where else self.label, self.shown, advice) from None


def _is_theirs(error: Exception) -> bool:
    """Whether an error tells of the world and not of a fault of ours: every file system has classes of its own."""
    return isinstance(error, OSError | ValueError) or type(error).__module__ != "builtins"


def _reason(error: BaseException) -> BaseException:
    """What is behind an error: on the web fsspec says of a server that is away, or refuses, that the file isn't found."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        if getattr(error.__cause__, "status", None) == HTTPStatus.NOT_FOUND:
            break
        error = error.__cause__
    return error


def _said(error: BaseException, is_secret: bool) -> str:
    """An error in words; of a secret place without its own, which may say the address."""
    said = getattr(error, "strerror", None)
    status = getattr(error, "status", None)
    if is_secret or (said and not status):
        return said or (f"{type(error).__name__} {status}" if status else type(error).__name__)
    return without_secrets(f"{type(error).__name__}: {error}")


def _address(field: str, given: str) -> Address:
    """The address itself, or the one that an environment variable holds."""
    if not given.startswith(VARIABLE):
        return Address(field, given, without_secrets(given))
    name = given.removeprefix(VARIABLE)
    found = os.environ.get(name)
    if not found:
        raise refused(field, given, f"no environment variable {name} here; set it where the batch runs")
    return Address(field, found, given)


def _place(address: Address) -> Place:
    try:
        system, path = url_to_fs(address.value)
        return Place(system, path, address.shown, address.is_secret)
    except ImportError as error:
        advice = f"{error}; its file system is a package of its own"
    except Exception as error:
        if not _is_theirs(error):
            raise
        advice = f"can't be reached ({_said(error, address.is_secret)}); name a path, or a URL that fsspec knows and reaches"
    raise refused(address.field, address.shown, advice)


def _ontology(address: Address, folder: Place | None) -> str:
    if address.value:
        place = _place(address)
        if not place.exists():
            raise refused("ontology", address.shown, "no such file; name the Turtle file")
        return place.text()
    if folder is None:
        raise refused("ontology", "", "these documents lie in no folder that could hold one; name it: --ontology FILE")
    turtles = folder.children(".ttl")
    for turtle in turtles:
        if turtle.name == ONTOLOGY_FILE or len(turtles) == 1:
            return turtle.text()
    what = f"has {len(turtles)} .ttl files" if turtles else "has no .ttl file"
    raise refused("ontology", folder.shown, f"{what}; name the ontology with --ontology FILE")


def _from_folder(folder: Place, columns: Columns) -> Iterator[Row]:
    lines = folder.child(DOCUMENTS_FILE)
    if lines.exists():
        return _from_jsonl(lines, columns)
    texts = folder.children(".txt", ".md")
    if not texts:
        raise refused("SOURCE", folder.shown, f"holds no {DOCUMENTS_FILE}, no *.txt and no *.md; put documents there")
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
        yield from _from_lines(place.label, file, columns)


def _from_lines(name: str, lines: Iterable[bytes], columns: Columns) -> Iterator[Row]:
    # Line by line rather than through pandas, which names no line that it can't read.
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        said = _decoded(line, name, number)
        if not said.strip():
            continue
        try:
            row = json.loads(said)
        except (ValueError, RecursionError) as error:
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
        reader = csv.reader(_text_lines(place.label, file), strict=True)
        header: list[str] = []
        number = 0
        try:
            header = next(reader, [])
            _check_columns(place.label, header, columns)
            document_id, text = header.index(columns.document_id), header.index(columns.text)
            began = reader.line_num + 1
            for fields in reader:
                # An empty line is no row.
                if fields:
                    number += 1
                    if len(fields) != len(header):
                        advice = f"has {len(fields)} fields, the header {len(header)}; a text with commas wants quotes around it"
                        raise refused(f"{place.label} row {number} (line {began})", fields, advice)
                    yield Row(f"{place.label} row {number}", fields[document_id], fields[text])
                began = reader.line_num + 1
        except csv.Error as error:
            # The line where the row begins is where a quote is missing, whatever line the reader has come to.
            where = f"{place.label} row {number + 1} (line {began})" if header else f"{place.label} line 1"
            raise refused(where, place.shown, f"isn't CSV ({error}); mend its quotes") from None


def _text_lines(name: str, lines: Iterable[bytes]) -> Iterator[str]:
    """A file's lines as text, ends and all, each decoded by itself so that one that can't be is named."""
    for number, line in enumerate(lines, start=1):
        # Old spreadsheets end lines with a carriage return alone.
        yield from io.StringIO(_decoded(line, name, number), newline="")


def _from_parquet(place: Place, columns: Columns) -> Iterator[Row]:
    import pyarrow.parquet

    number = 0
    with place.open() as file, place.readable(lambda: f"{place.label} after row {number}"):
        # pandas reads such a file whole; this is what it reads it with. A row group may be the whole file as well, so page by
        # page through a buffer.
        table = pyarrow.parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        _check_columns(place.label, table.schema_arrow.names, columns)
        for batch in table.iter_batches(ROWS, columns=[columns.document_id, columns.text]):
            for row in batch.to_pylist():
                number += 1
                yield Row(f"{place.label} row {number}", row[columns.document_id], row[columns.text])


_READERS: dict[str, Callable[[Place, Columns], Iterator[Row]]] = {
    ".jsonl": _from_jsonl,
    ".csv": _from_csv,
    ".parquet": _from_parquet,
}


def _check_columns(name: str, there: list[str], columns: Columns) -> None:
    for key in (columns.document_id, columns.text):
        if key not in there:
            advice = "no such column; name those of ids and texts with --id-column and --text-column"
            raise refused(f"{name} {key}", there, advice)
        if there.count(key) > 1:
            raise refused(f"{name} {key}", there, "names more than one column; give each a name of its own")


# --- Databases --------------------------------------------------------------------------------------------------------


def _from_query(address: Address, query: str, columns: Columns) -> Iterator[Row]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from compat.database import parse_url

    if not query:
        raise refused("query", query, "a database wants a query whose rows are the documents; give --query SELECT …")
    try:
        url = parse_url(address.value)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            # It would be made, and be empty.
            raise refused("SOURCE", address.shown, "no such database file; mend the URL: sqlite:///FILE")
        engine = create_engine(url, poolclass=NullPool)
    except InvalidInputError:
        raise
    except ModuleNotFoundError as error:
        raise refused("SOURCE", address.shown, f"needs the package {error.name}; install it where the batch runs") from None
    except (ValueError, NoSuchModuleError) as error:
        said = str(error) if isinstance(error, ValueError) else "is no URL of a database that SQLAlchemy knows here"
        raise refused("SOURCE", address.shown, f"{said}; a query wants a database's URL, as SQLAlchemy has it") from None
    if engine.dialect.is_async:
        advice = f"{url.drivername} is a driver for event loops; write {url.get_backend_name()}:// and no driver"
        raise refused("SOURCE", address.shown, advice)
    try:
        # Never committed, and what a query would change all the same (SQLite's tables, PostgreSQL's sequences) is refused.
        with engine.connect().execution_options(yield_per=ROWS, postgresql_readonly=True) as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only=ON")
            # A colon is a parameter's to SQLAlchemy, and a text's or a cast's here.
            result = connection.execute(text(query.replace(":", r"\:")))
            if not result.returns_rows:
                raise refused("query", query, "gives no rows; it has to be a SELECT")
            _check_columns("query", list(result.keys()), columns)
            for number, row in enumerate(result.mappings(), start=1):
                yield Row(f"query row {number}", row[columns.document_id], row[columns.text])
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if url.password:
            said = said.replace(url.password, "***")
        raise refused("query", query, f"failed at {address.shown} ({said}); mend it, or see that the database runs") from None
