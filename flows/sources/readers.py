"""Where documents come from: lines, folders and files behind paths and URLs, SQL queries, the packaged sample."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from compat.errors import InvalidInputError
from flows.sources.documents import Documents, Row, invalid
from flows.sources.places import BUFFER, Address, Place, address_of, decoded, place_of

SAMPLE = "sample"
ONTOLOGY_FILE = "ontology.ttl"
DOCUMENTS_FILE = "documents.jsonl"
DATABASE = re.compile(r"(sqlite|postgres(ql)?)(\+\w+)?://")
# Rows of a table in memory at a time.
ROWS = 200
# Characters in a CSV field. A longer field isn't a document but an unclosed quote, which would be read to the file's end.
FIELD = 2**28


@dataclass(frozen=True)
class Columns:
    """The names of a document's id and text in its source."""

    document_id: str = "documentId"
    text: str = "text"


DEFAULT_COLUMNS = Columns()


def load(source: str, ontology: str = "", columns: Columns = DEFAULT_COLUMNS, query: str = "") -> Documents:
    """Read a source to its end, a few documents in memory at a time.

    Args:
        source: A folder with ``documents.jsonl`` or with ``*.txt`` and ``*.md``; a ``.jsonl``, ``.csv`` or ``.parquet`` file;
            each as a path or as a URL that fsspec opens (``https://…``, ``s3://…``); a database's URL, with a
            query; JSON lines themselves; ``sample``; or ``env:NAME``, for the value of that environment variable.
        ontology: The Turtle file, in any of these ways; without it, the one in the source's folder.
        columns: The names of a document's id and text.
        query: The SQL whose rows are the documents. Without ORDER BY, the order may differ from batch to batch.

    Raises:
        InvalidInputError: Something is missing or malformed; the error names the file and the line or row.
    """
    address, turtle = address_of("SOURCE", source), address_of("ontology", ontology)
    if address.value == SAMPLE and not Path(SAMPLE).exists():
        with as_file(files("deployments") / SAMPLE) as folder:
            return load(str(folder), ontology)
    if query or DATABASE.match(address.value):
        return Documents(_from_query(address, query, columns), _ontology(turtle, None))
    if address.value.lstrip().startswith("{"):
        lines = address.value.encode("utf-8", "surrogatepass").splitlines(keepends=True)
        return Documents(_from_lines("SOURCE", lines, columns), _ontology(turtle, None))
    place = place_of(address)
    if not place.exists():
        raise invalid("SOURCE", address.shown, "no such file or folder; name one, or say: sample")
    if place.is_folder(_READERS):
        return Documents(_from_folder(place, columns), _ontology(turtle, place))
    reader = _READERS.get(place.suffix)
    if reader is None:
        raise invalid("SOURCE", address.shown, f"isn't a folder and doesn't end in {', '.join(_READERS)}")
    return Documents(reader(place, columns), _ontology(turtle, place.parent))


# --- Files ------------------------------------------------------------------------------------------------------------


def _ontology(address: Address, folder: Place | None) -> str:
    if address.value:
        place = place_of(address)
        if not place.exists():
            raise invalid("ontology", address.shown, "no such file; name the Turtle file")
        return place.text()
    if folder is None:
        raise invalid("ontology", "", "these documents aren't in a folder that could hold one; name it: --ontology FILE")
    turtles = folder.children(".ttl")
    for turtle in turtles:
        if turtle.name == ONTOLOGY_FILE or len(turtles) == 1:
            return turtle.text()
    what = f"has {len(turtles)} .ttl files" if turtles else "has no .ttl file"
    raise invalid("ontology", folder.shown, f"{what}; name the ontology with --ontology FILE")


def _from_folder(folder: Place, columns: Columns) -> Iterator[Row]:
    lines = folder.child(DOCUMENTS_FILE)
    if lines.exists():
        return _from_jsonl(lines, columns)
    texts = folder.children(".txt", ".md")
    if not texts:
        raise invalid("SOURCE", folder.shown, f"holds no {DOCUMENTS_FILE}, no *.txt and no *.md; put documents there")
    return (Row(place.name, place.name, place.text()) for place in texts)


# --- Lines and tables -------------------------------------------------------------------------------------------------


def _from_jsonl(place: Place, columns: Columns) -> Iterator[Row]:
    with place.open() as file, place.readable():
        yield from _from_lines(place.label, file, columns)


def _from_lines(name: str, lines: Iterable[bytes], columns: Columns) -> Iterator[Row]:
    # Line by line rather than through pandas, which doesn't name the line that it can't read.
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        text = decoded(line, name, number)
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise invalid(where, text, f"isn't JSON ({error}); correct or remove the line") from None
        if not isinstance(row, dict):
            raise invalid(where, row, f'isn\'t an object; write {{"{columns.document_id}": …, "{columns.text}": …}}')
        for key in (columns.document_id, columns.text):
            if key not in row:
                raise invalid(f"{where} {key}", sorted(row), "is missing; add it")
        if columns == DEFAULT_COLUMNS:
            # Probably misspelt; whoever names columns knows about the others.
            for key in sorted(row.keys() - {columns.document_id, columns.text}):
                raise invalid(f"{where} {key}", row[key], "unknown key; remove it or correct its spelling")
        yield Row(where, row[columns.document_id], row[columns.text])


def _from_csv(place: Place, columns: Columns) -> Iterator[Row]:
    # Not through pandas, which shifts, fills or drops what doesn't fit the header. The limit is the process's: it is only raised.
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
                # An empty line isn't a row.
                if fields:
                    number += 1
                    if len(fields) != len(header):
                        advice = f"has {len(fields)} fields, the header {len(header)}; put quotes around a text with commas"
                        raise invalid(f"{place.label} row {number} (line {began})", fields, advice)
                    yield Row(f"{place.label} row {number}", fields[document_id], fields[text])
                began = reader.line_num + 1
        except csv.Error as error:
            # The quote is missing in the line where the row begins, wherever the reader has got to.
            where = f"{place.label} row {number + 1} (line {began})" if header else f"{place.label} line 1"
            raise invalid(where, place.shown, f"isn't CSV ({error}); correct its quotes") from None


def _text_lines(name: str, lines: Iterable[bytes]) -> Iterator[str]:
    """Yield a file's lines as text, with their ends; each is decoded alone, so that an error can name it."""
    for number, line in enumerate(lines, start=1):
        # Old spreadsheets end lines with a carriage return alone.
        yield from io.StringIO(decoded(line, name, number), newline="")


def _from_parquet(place: Place, columns: Columns) -> Iterator[Row]:
    import pyarrow.parquet

    number = 0
    with place.open() as file, place.readable(lambda: f"{place.label} after row {number}"):
        # pandas reads the whole file; this is the library that it uses. A row group may be the whole file too, so it is read
        # page by page through a buffer.
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
            raise invalid(f"{name} {key}", there, advice)
        if there.count(key) > 1:
            raise invalid(f"{name} {key}", there, "names more than one column; give each a name of its own")


# --- Databases --------------------------------------------------------------------------------------------------------


def _from_query(address: Address, query: str, columns: Columns) -> Iterator[Row]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from compat.store.database import parse_url

    if not query:
        raise invalid("query", query, "a database needs a query whose rows are the documents; give --query SELECT …")
    try:
        url = parse_url(address.value)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            # SQLite would create it, empty.
            raise invalid("SOURCE", address.shown, "no such database file; correct the URL: sqlite:///FILE")
        engine = create_engine(url, poolclass=NullPool)
    except InvalidInputError:
        raise
    except ModuleNotFoundError as error:
        raise invalid("SOURCE", address.shown, f"needs the package {error.name}; install it where the batch runs") from None
    except (ValueError, NoSuchModuleError) as error:
        reason = str(error) if isinstance(error, ValueError) else "isn't the URL of a database that SQLAlchemy knows here"
        raise invalid("SOURCE", address.shown, f"{reason}; a query needs a database's URL in SQLAlchemy's form") from None
    if engine.dialect.is_async:
        advice = f"{url.drivername} is a driver for event loops; write {url.get_backend_name()}:// without a driver"
        raise invalid("SOURCE", address.shown, advice)
    try:
        # Never committed, and writes that would take effect all the same (SQLite's tables, PostgreSQL's sequences) are refused.
        with engine.connect().execution_options(yield_per=ROWS, postgresql_readonly=True) as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only=ON")
            # SQLAlchemy reads a colon as a parameter; here it belongs to a text or a cast.
            result = connection.execute(text(query.replace(":", r"\:")))
            if not result.returns_rows:
                raise invalid("query", query, "returns no rows; use a SELECT")
            _check_columns("query", list(result.keys()), columns)
            for number, row in enumerate(result.mappings(), start=1):
                yield Row(f"query row {number}", row[columns.document_id], row[columns.text])
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if url.password:
            reason = reason.replace(url.password, "***")
        raise invalid(
            "query", query, f"failed at {address.shown} ({reason}); correct it, or check that the database is running"
        ) from None
