"""Where documents come from: a folder, a JSONL, CSV or Parquet file, or the packaged sample."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from compat.errors import InvalidInputError, Problem
from compat.ids import derived_id

SAMPLE = "sample"
ONTOLOGY_FILE = "ontology.ttl"
DOCUMENTS_FILE = "documents.jsonl"
_KEYS = {"documentId", "text"}


@dataclass(frozen=True)
class Source:
    """Documents in their order as (documentId, text), and the ontology that they share."""

    rows: tuple[tuple[str, str], ...]
    ontology_content: str

    @property
    def ontology_id(self) -> str:
        """The same for the same ontology."""
        return derived_id("knowledge_ontology", self.ontology_content)

    def documents(self) -> list[dict[str, str]]:
        """As ``documents`` of a request."""
        return [
            {"documentId": document_id, "text": text, "ontologyContent": self.ontology_content} for document_id, text in self.rows
        ]


def load(source: str, ontology: Path | None = None) -> Source:
    """Reads a source whole.

    Args:
        source: A folder with ``documents.jsonl`` or with ``*.txt`` and ``*.md``, beside one ontology;
            a ``.jsonl``, ``.csv`` or ``.parquet`` file with documentId and text; or ``sample``.
        ontology: The Turtle file, where it isn't the only one in the folder.

    Raises:
        InvalidInputError: What is missing or malformed, with the file and the line or row.
    """
    path = Path(source)
    if source == SAMPLE and not path.exists():
        with as_file(files("deployments") / SAMPLE) as folder:
            return _load(folder, ontology)
    return _load(path, ontology)


def _load(path: Path, ontology: Path | None) -> Source:
    if not path.exists():
        raise _refused("SOURCE", str(path), "no such file or folder; name one, or say: sample")
    rows = list(_from_folder(path) if path.is_dir() else _from_file(path))
    ontology = ontology or _ontology_in(path if path.is_dir() else path.parent)
    return Source(tuple(rows), _text(ontology))


def _from_folder(folder: Path) -> Iterator[tuple[str, str]]:
    if (folder / DOCUMENTS_FILE).exists():
        return _from_jsonl(folder / DOCUMENTS_FILE)
    texts = sorted(path for path in folder.iterdir() if path.suffix in (".txt", ".md"))
    if not texts:
        raise _refused("SOURCE", str(folder), f"holds no {DOCUMENTS_FILE}, no *.txt and no *.md; put documents there")
    return ((path.name, _text(path)) for path in texts)


def _from_file(path: Path) -> Iterator[tuple[str, str]]:
    match path.suffix:
        case ".jsonl":
            return _from_jsonl(path)
        case ".csv" | ".parquet":
            return _from_table(path)
    raise _refused("SOURCE", str(path), "isn't a folder and doesn't end in .jsonl, .csv or .parquet")


def _from_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    # Lines end at a newline only: str.splitlines would also cut at separators that JSON strings may hold.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _refused(where, line, f"isn't JSON ({error}); mend or remove the line") from None
        if not isinstance(row, dict):
            raise _refused(where, row, 'isn\'t an object; write {"documentId": …, "text": …}')
        for key in _KEYS - row.keys():
            raise _refused(f"{where} {key}", sorted(row), "is missing; add it")
        for key in sorted(row.keys() - _KEYS):
            raise _refused(f"{where} {key}", row[key], "unknown key; remove it or mend its spelling")
        for key in sorted(_KEYS):
            if not isinstance(row[key], str):
                raise _refused(f"{where} {key}", row[key], "isn't a string; put it in quotes")
        yield row["documentId"], row["text"]


def _from_table(path: Path) -> Iterator[tuple[str, str]]:
    # Loaded here: pandas takes most of a second, and most commands read no table.
    import pandas as pd

    try:
        # As strings throughout: pandas would make numbers of ids, and of the text "NA" a missing one.
        frame = (
            pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
            if path.suffix == ".csv"
            else pd.read_parquet(path)
        )
    except UnicodeDecodeError as error:
        raise _refused(path.name, f"byte {error.start}", "isn't UTF-8; save the file as UTF-8") from None
    except (ValueError, OSError) as error:
        raise _refused(path.name, path.suffix, f"can't be read ({error}); mend the file") from None
    for key in sorted(_KEYS - set(frame.columns)):
        raise _refused(f"{path.name} {key}", list(frame.columns), "no such column; name the columns documentId and text")
    for row, (document_id, text) in enumerate(zip(frame["documentId"], frame["text"], strict=True), start=1):
        if not isinstance(text, str):
            raise _refused(f"{path.name} row {row} text", text, "isn't text; fill it in or remove the row")
        yield str(document_id), text


def _ontology_in(folder: Path) -> Path:
    if (folder / ONTOLOGY_FILE).exists():
        return folder / ONTOLOGY_FILE
    found = sorted(folder.glob("*.ttl"))
    if len(found) == 1:
        return found[0]
    what = f"has {len(found)} .ttl files" if found else "has no .ttl file"
    raise _refused("ontology", str(folder), f"{what}; name the ontology with --ontology FILE")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _refused(
            f"{path.name} line {line}", error.object[error.start : error.end], "isn't UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise _refused(path.name, str(path), f"can't be read ({error.strerror}); mend the path or its permissions") from None


def _refused(field: str, value: object, advice: str) -> InvalidInputError:
    return InvalidInputError([Problem(field, value, advice)])
