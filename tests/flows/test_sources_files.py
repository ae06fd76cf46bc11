"""Documents and ontologies as they lie about: real files of every kind, what can't be read of them, and what is said of it."""

import gzip
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import docx
import processes
import pytest
from fpdf import FPDF

from compat.errors import InvalidInputError
from flows.sources import ontologies, places, text_process
from flows.sources import readers as sources
from flows.sources.documents import Documents, Row
from flows.sources.places import Place, address_of, place_of
from flows.sources.readers import Columns
from flows.sources.texts import TextReader, UnreadableError

SEA = "Ada Lovelace saw the sea."
TURTLE = "@prefix owl: <http://www.w3.org/2002/07/owl#> . @prefix : <https://x.org/> . :Sea a owl:Class ."
RDF_XML = (
    '<?xml version="1.0" encoding="ISO-8859-1"?>'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#">'
    '<rdfs:Class rdf:about="https://x.org/Glacé"><rdfs:label>glacé</rdfs:label></rdfs:Class></rdf:RDF>'
)
HTML = f"<html><body><nav><a href=/>Home</a></nav><main><h1>A log</h1><p>{SEA} Garçon.</p></main></body></html>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ontology.ttl").write_text(TURTLE, encoding="utf-8")
    return folder


def a_pdf(path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.multi_cell(0, 8, "Charles Babbage met Ada Lovelace in London on the first Monday of every month, in all weathers. " + SEA)
    pdf.output(str(path))


def a_docx(path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("Before.")
    table = document.add_table(1, 3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = SEA
    table.cell(0, 2).text = "1897"
    document.add_paragraph("After.")
    document.save(str(path))


def an_html_page(path: Path) -> None:
    path.write_text(HTML.replace("<body>", "<meta charset=iso-8859-1><body>"), encoding="iso-8859-1")


def an_eml(path: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "The sea", "ada@x.org"
    message.set_content(f"{SEA} Garçon.", cte="quoted-printable")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="map.pdf")
    path.write_bytes(message.as_bytes())


def an_epub(path: Path, size: int = 0) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("META-INF/container.xml", '<c xmlns="urn:c"><rootfile full-path="in/b.opf"/></c>')
        items = '<item id="two" href="b%20two.xhtml"/><item id="one" href="one.xhtml"/>'
        book.writestr("in/b.opf", f'<p xmlns="urn:o">{items}<itemref idref="one"/><itemref idref="two"/></p>')
        book.writestr("in/b two.xhtml", "<html><body><p>After.</p></body></html>" + " " * size)
        book.writestr("in/one.xhtml", f"<html><body><p>{SEA}</p></body></html>")


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a.pdf": (
        a_pdf,
        f"Charles Babbage met Ada Lovelace in London on the first Monday of every month, in all weathers. {SEA}",
    ),
    "b.docx": (a_docx, f"Before.\n\n{SEA}\t1897\n\nAfter."),
    "c.html": (an_html_page, f"A log\n\n{SEA} Garçon."),
    "d.eml": (an_eml, f"The sea\n\n{SEA} Garçon."),
    "e.epub": (an_epub, f"{SEA}\n\nAfter."),
}


def test_a_folder_gives_every_document_below_it_and_names_what_it_leaves_out(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    for name, (make, _) in KINDS.items():
        make(folder / name)
    (folder / "deep" / "er" / "f.TXT").write_text(SEA, encoding="utf-8")
    (folder / "deep" / "other.ttl").write_text(TURTLE, encoding="utf-8")
    (folder / "deep" / "circle").symlink_to(folder)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    (folder / "latin.txt").write_bytes(b"\xe9")
    (folder / "report.pages").write_bytes(b"x")
    (folder / ".hidden").mkdir()
    documents = sources.load(str(folder))
    assert {each.document_id: each.text for each in documents} == {
        **{name: text for name, (_, text) in KINDS.items()},
        "deep/er/f.TXT": SEA,
    }
    read, left_out = documents.reading.notes()
    assert "pypdf 7." in read
    assert "python-docx 1.2.0 (1)" in read
    assert left_out.startswith("7 files were not read: .hidden/ (hidden), broken.pdf (can't be read (")
    for said in (
        "deep/circle/ (a link to a folder)",
        "deep/other.ttl",
        "latin.txt (isn't UTF-8",
        "map.pdf in d.eml",
        "report.pages",
    ):
        assert said in left_out


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_its_own_is_a_batch(name: str, folder: Path) -> None:
    make, text = KINDS[name]
    make(folder / name)
    assert [(each.document_id, each.text) for each in sources.load(str(folder / name))] == [(name, text)]


def test_a_file_of_its_own_that_can_not_be_read_is_refused(folder: Path) -> None:
    (folder / "broken.docx").write_bytes(b"PK and nothing else")
    with pytest.raises(InvalidInputError, match=r"SOURCE = '.*can't be read \(BadZipFile"):
        sources.load(str(folder / "broken.docx"))


def test_a_pattern_reads_documents_and_tables(folder: Path) -> None:
    (folder / "deep").mkdir()
    a_docx(folder / "deep" / "b.docx")
    (folder / "deep" / "part-1.jsonl").write_text('{"documentId": "x", "text": ""}\n', encoding="utf-8")
    found = sources.load(str(folder / "**" / "*.docx"))
    assert [each.document_id for each in found] == ["deep/b.docx"]
    found = sources.load(str(folder / "deep" / "*"), str(folder / "ontology.ttl"))
    assert [each.document_id for each in found] == ["b.docx", "x"]
    with pytest.raises(InvalidInputError, match="no file matches"):
        sources.load(str(folder / "*.nothing"))


def unreadable(path: Path, reader: TextReader) -> str:
    with reader, pytest.raises(UnreadableError) as raised:
        reader.read(place(path))
    return str(raised.value)


def place(path: Path) -> Place:
    return place_of(address_of("SOURCE", str(path)))


def test_an_archive_that_would_unpack_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    an_epub(tmp_path / "bomb.epub", 30 * 2**20)
    assert "unpacks to 30 MiB" in unreadable(tmp_path / "bomb.epub", TextReader())


def test_a_file_that_takes_too_long_or_too_much_memory_fails_alone(tmp_path: Path) -> None:
    a_docx(tmp_path / "good.docx")
    with TextReader(memory=2**24) as reader:
        for _ in range(2):
            with pytest.raises(UnreadableError, match=r"memory|ended its reader|can't be read"):
                reader.read(place(tmp_path / "good.docx"))
    # A file that never ends: the reader waits for it.
    os.mkfifo(tmp_path / "never.eml")
    assert text_process.answer(str(tmp_path / "never.eml"), ".eml", 1, 2**30) == {"error": "took longer than 1 s to read"}


def test_lines_that_are_cut_at_the_width_of_a_page_become_paragraphs() -> None:
    lines = [
        "Title",
        "It was a dark and stormy night when the ex-",
        "pedition left the harbour of Bergen for the",
        "north.",
        "",
        "End.",
    ]
    joined = "Title\n\nIt was a dark and stormy night when the expedition left the harbour of Bergen for the north.\n\nEnd."
    assert text_process.joined_lines(lines) == joined


# --- Lines and tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_delimiter_of_a_table_is_recognised(delimiter: str, suffix: str, folder: Path) -> None:
    content = f'text{delimiter}year{delimiter}documentId\n"a, b; c"{delimiter}1897{delimiter}x\n'.encode()
    (folder / f"letters{suffix}").write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    documents = sources.load(str(folder / f"letters{suffix}"))
    assert [(each.document_id, each.text) for each in documents] == [("x", "a, b; c")]
    assert documents.reading.notes() == [f"letters{suffix}: year not used"]


def test_a_delimiter_is_named(folder: Path) -> None:
    (folder / "letters.csv").write_text("documentId~text\nx~a,b\n", encoding="utf-8")
    assert next(iter(sources.load(str(folder / "letters.csv"), columns=Columns(delimiter="~")))).text == "a,b"
    with pytest.raises(InvalidInputError, match="delimiter = '~~': isn't one character"):
        sources.load(str(folder / "letters.csv"), columns=Columns(delimiter="~~"))
    (folder / "letters.tsv").write_text("documentId\ttext\nx\ta,b\n", encoding="utf-8")
    assert next(iter(sources.load(str(folder / "letters.tsv")))).text == "a,b"


def test_further_keys_of_a_line_are_noted_once_and_compressed_lines_are_read(folder: Path) -> None:
    lines = "".join(json.dumps({"documentId": f"d{n}", "text": "", "year": n, "meta": {"text": n}}) + "\n" for n in range(3))
    (folder / "letters.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    documents = sources.load(str(folder / "letters.jsonl.gz"))
    assert len(documents) == 3
    assert documents.reading.notes() == ["letters.jsonl.gz: meta, year not used"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"documentid": "a", "text": ""}', "documentId = .*is missing; is it 'documentid'"),
        ('{"documentId": "a", "text": "", "Text": "x"}', "line 1 Text = 'Text': is nearly 'text'"),
        ('{"documentId": "a", "text": "", "document_ids": "x"}', "is nearly 'documentId'"),
        ('{"documentId": "a", "text": "", "text": "x"}', "line 1 text = .*stands twice"),
    ],
)
def test_a_key_that_is_nearly_right_or_stands_twice_is_refused(line: str, said: str, folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=said):
        sources.load(line, str(folder / "ontology.ttl"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("7.00"), "7"),
        (Decimal("7.50"), "7.5"),
        (Decimal("1E+3"), "1000"),
        (7.0, "7"),
        (2**70, "1180591620717411303424"),
    ],
)
def test_ids_of_tables_become_text(given: object, kept: str) -> None:
    assert [each.document_id for each in Documents([Row("row 1", given, "")], TURTLE)] == [kept]


@pytest.mark.parametrize("given", [7.5, float("nan"), 1e300, Decimal("NaN"), True, None])
def test_what_is_no_id_is_refused(given: object) -> None:
    with pytest.raises(InvalidInputError, match="row 1 documentId"):
        Documents([Row("row 1", given, "")], TURTLE)


def test_a_bomb_of_one_line_and_a_file_that_was_cut_off_are_errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGEST", 2**20)
    (folder / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * 2**22))
    with pytest.raises(InvalidInputError, match=r"bomb.jsonl.gz line 1 .*longer than 1 MiB"):
        sources.load(str(folder / "bomb.jsonl.gz"))
    (folder / "bomb.ttl.gz").write_bytes(gzip.compress(b" " * 2**22))
    with pytest.raises(InvalidInputError, match=r"bomb.ttl.gz.*larger than 1 MiB"):
        sources.load("sample", str(folder / "bomb.ttl.gz"))
    (folder / "short.jsonl.gz").write_bytes(gzip.compress(b"\n" * 2**20)[:-20])
    with pytest.raises(InvalidInputError, match=r"short.jsonl.gz.*can't be read"):
        sources.load(str(folder / "short.jsonl.gz"))


# --- Ontologies -------------------------------------------------------------------------------------------------------

ONTOLOGIES: dict[str, bytes] = {
    "ontology.json": json.dumps({"@id": "https://x.org/Sea", "@type": "http://www.w3.org/2002/07/owl#Class"}).encode(),
    "any.owl": RDF_XML.encode("iso-8859-1"),
    "any.rdf.gz": gzip.compress(RDF_XML.replace("ISO-8859-1", "UTF-8").encode()),
    "any.nt": b"<https://x.org/Sea> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://www.w3.org/2002/07/owl#Class> .",
}


@pytest.mark.parametrize("name", ONTOLOGIES)
def test_a_folders_ontology_is_found_by_its_ending_and_summed_up(name: str, folder: Path) -> None:
    (folder / "ontology.ttl").unlink()
    (folder / name).write_bytes(ONTOLOGIES[name])
    (folder / "documents.jsonl").write_text('{"documentId": "a", "text": ""}\n', encoding="utf-8")
    (folder / "settings.json").write_text("{}", encoding="utf-8")
    documents = sources.load(str(folder))
    assert ontologies.check(documents, "rules").startswith(f"{name}: 1 class, 0 properties")
    assert documents.reading.notes() == ["1 file was not read: settings.json"]
    if name.startswith("any"):
        (folder / "second.ttl").write_text(TURTLE, encoding="utf-8")
        with pytest.raises(InvalidInputError, match="has 2 files that may be the ontology"):
            sources.load(str(folder))


BAD_ONTOLOGIES = {
    "empty.ttl": ("# nothing", "declares no class"),
    "go.obo": ("format-version: 1.2\n", "OBO, which isn't read; convert it with: robot"),
    "wrong.ttl": ("@prefix : <https://x.org/> . :a :b", "isn't valid Turtle"),
}


@pytest.mark.parametrize("name", BAD_ONTOLOGIES)
def test_an_ontology_by_which_nothing_can_be_found_is_refused_before_anything_is_written(
    name: str, folder: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, said = BAD_ONTOLOGIES[name]
    (folder / "ontology.ttl").unlink()
    (folder / name).write_text(content, encoding="utf-8")
    (folder / "a.txt").write_text(SEA, encoding="utf-8")
    documents = sources.load(str(folder))
    with pytest.raises(InvalidInputError, match=f"ontology = '{name}': .*{said}"):
        ontologies.check(documents, "rules")
    # An extractor of the caller's own may read it.
    assert ontologies.check(documents, "faults:factory").startswith(name)


def command(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "flows.command.cli", *arguments]
    return subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=120, env=processes.environment(**more))


def test_the_command_says_what_it_read_and_gives_the_texts_back(
    folder: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_docx(folder / "b.docx")
    (folder / "data.bin").write_bytes(b"x")
    done = command("run", str(folder), "--extractor", "rules", "--batch-id", "b")
    assert done.returncode == 0, done.stderr
    assert "ontology.ttl: 1 class, 0 properties" in done.stderr
    assert "1 file was not read: data.bin" in done.stderr
    texts = tmp_path / "texts.jsonl"
    assert command("export", "b", "--to", str(texts)).returncode == 0
    assert json.loads(texts.read_text(encoding="utf-8")) == {"documentId": "b.docx", "text": KINDS["b.docx"][1], "triples": []}
    # What was written is a source.
    again = command("run", "-", "--ontology", str(folder / "ontology.ttl"), "--format", "json", stdin=texts.read_text("utf-8"))
    assert json.loads(again.stdout)["totalDocuments"] == 1


def test_the_command_refuses_a_useless_ontology_and_writes_nothing(
    folder: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "ontology.ttl").write_text("# nothing", encoding="utf-8")
    (folder / "a.txt").write_text(SEA, encoding="utf-8")
    home = tmp_path / "unmade"
    url = f"sqlite:///{home}/store.db"
    done = command("run", str(folder), "--extractor", "rules", KNOWLEDGE_HOME=str(home), KNOWLEDGE_DATABASE_URL=url)
    assert done.returncode == 2
    assert "error: ontology = 'ontology.ttl': declares no class" in done.stderr
    assert not home.exists()
