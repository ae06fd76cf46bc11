"""Documents in lines and tables: JSON lines, CSV and its relatives, Parquet; plain or compressed."""

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from flows.sources.documents import Reading, Row, invalid
from flows.sources.places import BUFFER, LARGEST, Place, bounded, decoded

# Rows of a table in memory at a time.
ROWS = 200
# What may part the fields of a table, in the order in which they are tried.
DELIMITERS = (",", ";", "\t", "|")
# How alike a key must be to the one that is wanted, to be taken for a slip: documentIds is, texts isn't.
NEAR = 0.9


@dataclass(frozen=True)
class Columns:
    """The names of a document's id and text in its source, and what parts a CSV's fields; without it, that is recognised."""

    document_id: str = "documentId"
    text: str = "text"
    delimiter: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """The two names."""
        return self.document_id, self.text

    @property
    def are_named(self) -> bool:
        """Whether the caller named the columns."""
        return self.names != DEFAULT_COLUMNS.names


DEFAULT_COLUMNS = Columns()


def read_jsonl(place: Place, columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the documents of a file of JSON lines."""
    with place.open() as file, place.readable():
        yield from read_lines(place.label, bounded(place.label, file), columns, reading)


def read_lines(name: str, lines: Iterable[bytes], columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the documents of JSON lines, which errors call ``name``."""
    # Line by line rather than through pandas, which doesn't name the line that it can't read.
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        text = decoded(line, name, number)
        if not text.strip():
            continue
        repeated: list[str] = []
        try:
            row = json.loads(text, object_pairs_hook=partial(_object, repeated))
        except (ValueError, RecursionError) as error:
            raise invalid(where, text, f"isn't JSON ({error}); correct or remove the line") from None
        if not isinstance(row, dict):
            raise invalid(where, row, f'isn\'t an object; write {{"{columns.document_id}": …, "{columns.text}": …}}')
        for key in columns.names:
            if key in repeated:
                raise invalid(f"{where} {key}", text, "stands twice in the line; remove one of them")
            if key not in row:
                raise invalid(f"{where} {key}", sorted(row), f"is missing; {_near(key, row) or 'add it'}")
        others = row.keys() - set(columns.names)
        if others:
            _check_slips(where, sorted(others), columns)
            reading.columns.setdefault(name, set()).update(others)
        yield Row(where, row[columns.document_id], row[columns.text])


def _object(repeated: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Its keys that stand twice are added to ``repeated``; nested objects come before the outer one."""
    made = dict(pairs)
    keys = [key for key, _ in pairs]
    repeated[:] = [key for key in made if keys.count(key) > 1] if len(made) < len(keys) else []
    return made


def _check_slips(where: str, others: list[str], columns: Columns) -> None:
    """Raise InvalidInputError for a key that is one of the wanted ones but for a slip."""
    # Whoever names columns knows about the others.
    if columns.are_named:
        return
    for key in others:
        for wanted in columns.names:
            if _is_near(key, wanted):
                raise invalid(f"{where} {key}", key, f"is nearly {wanted!r}; correct its spelling or remove it")


def _is_near(key: str, wanted: str) -> bool:
    one, other = ("".join(letter for letter in each.lower() if letter.isalnum()) for each in (key, wanted))
    # Letters that changed places are the commonest slip.
    return sorted(one) == sorted(other) or difflib.SequenceMatcher(None, one, other).ratio() >= NEAR


def _near(wanted: str, there: Iterable[str]) -> str:
    found = next((key for key in there if key != wanted and _is_near(key, wanted)), None)
    return f"is it {found!r}? Then correct its spelling" if found else ""


def read_csv(place: Place, columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the documents of a table whose fields are separated by a character."""
    # Not through pandas, which shifts, fills or drops what doesn't fit the header. The limit is the process's: it is only raised.
    # A longer field isn't a document but an unclosed quote, which would be read to the file's end.
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST))
    with place.open() as file, place.readable():
        lines = _text_lines(place.label, bounded(place.label, file))
        first = next(lines, "")
        reader = csv.reader(chain([first], lines), strict=True, delimiter=_delimiter(place, first, columns))
        header: list[str] = []
        number = 0
        try:
            header = next(reader, [])
            check_columns(place.label, header, columns, reading)
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


def _delimiter(place: Place, header: str, columns: Columns) -> str:
    """Return the delimiter that was named, or the first one by which the header has both columns."""
    named = {"tab": "\t", "\\t": "\t"}.get(columns.delimiter, columns.delimiter)
    if named:
        if len(named) != 1 or named in '"\r\n':
            raise invalid("delimiter", columns.delimiter, "isn't one character; name one, such as ; or tab")
        return named
    if place.suffix.startswith(".tsv"):
        return "\t"
    for delimiter in DELIMITERS:
        try:
            if set(columns.names) <= set(next(csv.reader([header], delimiter=delimiter), [])):
                return delimiter
        except csv.Error:
            # Its reader says what is wrong, and where.
            continue
    return DELIMITERS[0]


def _text_lines(name: str, lines: Iterable[bytes]) -> Iterator[str]:
    """Yield a file's lines as text, with their ends; each is decoded alone, so that an error can name it."""
    for number, line in enumerate(lines, start=1):
        # Old spreadsheets end lines with a carriage return alone.
        yield from io.StringIO(decoded(line, name, number), newline="")


def read_parquet(place: Place, columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the documents of a Parquet file."""
    import pyarrow.parquet

    number = 0
    with place.open() as file, place.readable(lambda: f"{place.label} after row {number}"):
        # pandas reads the whole file; this is the library that it uses. A row group may be the whole file too, so it is read
        # page by page through a buffer.
        table = pyarrow.parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        check_columns(place.label, table.schema_arrow.names, columns, reading)
        for batch in table.iter_batches(ROWS, columns=list(columns.names)):
            for row in batch.to_pylist():
                number += 1
                yield Row(f"{place.label} row {number}", row[columns.document_id], row[columns.text])


READERS: dict[str, Callable[[Place, Columns, Reading], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".tsv": read_csv,
    ".tsv.gz": read_csv,
    ".parquet": read_parquet,
}


def check_columns(name: str, there: list[str], columns: Columns, reading: Reading) -> None:
    """Raise InvalidInputError unless the columns of id and text are there, once each; note the others."""
    for key in columns.names:
        if key not in there:
            advice = "no such column; name those of ids and texts with --id-column and --text-column"
            near = _near(key, there)
            raise invalid(f"{name} {key}", there, f"{advice} ({near})" if near else advice)
        if there.count(key) > 1:
            raise invalid(f"{name} {key}", there, "names more than one column; give each a name of its own")
    others = set(there) - set(columns.names)
    if others:
        reading.columns[name] = others
