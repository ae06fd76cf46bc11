"""Documents in files of their own: folders with what is below them, patterns, single files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compat.errors import InvalidInputError
from flows.sources.documents import Reading, Row, invalid
from flows.sources.places import Place
from flows.sources.tables import READERS, Columns
from flows.sources.texts import ENDINGS, TextReader, UnreadableError

LINES = ("documents.jsonl", "documents.jsonl.gz")


@dataclass(frozen=True)
class File:
    """A file of a source, and its name there: the path below the folder, which is its document's id."""

    name: str
    place: Place


def files_below(folder: Place, reading: Reading) -> list[File]:
    """Return the files of a folder and of those below it, in the order of their names.

    Hidden ones and links to folders, which may lead in circles, are noted as not read.
    """
    found = []
    ahead = [(folder, "")]
    while ahead:
        place, path = ahead.pop()
        for entry in place.entries():
            name = path + entry.place.name
            if entry.place.name.startswith("."):
                reading.not_read[f"{name}/" if entry.is_folder else name] = "hidden"
            elif entry.is_folder and entry.is_link:
                reading.not_read[f"{name}/"] = "a link to a folder"
            elif entry.is_folder:
                ahead.append((entry.place, f"{name}/"))
            else:
                found.append(File(name, entry.place))
    return sorted(found, key=lambda file: file.name)


def read_folder(
    folder: Place, files: Sequence[File], ontology: Place | None, columns: Columns, reading: Reading
) -> Iterator[Row]:
    """Yield the folder's documents: the lines of ``documents.jsonl``, or every file that is a document."""
    rest = [file for file in files if ontology is None or file.place.path != ontology.path]
    lines = next((file for name in LINES for file in rest if file.name == name), None)
    if lines is not None:
        reading.not_read.update((file.name, "") for file in rest if file is not lines)
        yield from READERS[lines.place.suffix](lines.place, columns, reading)
        return
    documents = [file for file in rest if file.place.suffix in ENDINGS]
    # Tables may be anything here, such as results; whoever means them names them.
    reading.not_read.update((file.name, "") for file in rest if file.place.suffix not in ENDINGS)
    yield from read_files(documents, columns, reading)
    if not reading.count:
        notes = "; ".join(reading.notes())
        advice = f"holds no {LINES[0]} and no document that can be read ({', '.join(ENDINGS)})"
        raise invalid("SOURCE", folder.shown, f"{advice}; put documents there{f' ({notes})' if notes else ''}")


def read_files(files: Sequence[File], columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the documents of files, tables among them; a document's file that can't be read is noted, and the others go on."""
    with TextReader() as reader:
        for file in files:
            table = READERS.get(file.place.suffix)
            if table is not None:
                for row in table(file.place, columns, reading):
                    reading.count += 1
                    yield row
                continue
            if file.place.suffix not in ENDINGS:
                reading.not_read[file.name] = ""
                continue
            try:
                found = reader.read(file.place)
            except UnreadableError as error:
                reading.not_read[file.name] = str(error)
                continue
            except InvalidInputError as error:
                # A server that fails may fail for all, and a batch of a part would look like the whole.
                if not file.place.is_local:
                    raise
                reading.not_read[file.name] = error.problems[0].advice
                continue
            reading.count += 1
            if found.reader:
                reading.readers[found.reader] += 1
            reading.not_read.update((f"{name} in {file.name}", "") for name in found.left_out)
            yield Row(file.name, file.name, found.text)
