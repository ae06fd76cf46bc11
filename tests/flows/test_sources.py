"""Every way in which documents come: each gives the same batch, and each names the row that it refuses."""

import http.server
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import processes
import pyarrow
import pyarrow.parquet
import pytest
from sqlalchemy import create_engine, text

import faults
import flows
from compat.errors import InvalidInputError, InvalidStateTransitionError
from compat.store import Store
from flows import deployed
from flows.sources import readers as sources
from flows.sources.documents import Documents, Row
from flows.sources.readers import Columns

TEXTS = {"a": "Ada saw the sea: 12:30, 100%.", "b": "‏שלום — 🌊", "c": ""}
TURTLE = "# no terms"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ontology.ttl").write_text(TURTLE, encoding="utf-8")
    return folder


def frame(document_id: str = "documentId", content: str = "text") -> pd.DataFrame:
    return pd.DataFrame({document_id: list(TEXTS), "about": "x", content: list(TEXTS.values())})


def lines(document_id: str = "documentId", content: str = "text", **more: str) -> str:
    return "".join(json.dumps({document_id: key, content: value, **more}) + "\n" for key, value in TEXTS.items())


def table(url: str, rows: pd.DataFrame) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        rows.to_sql("letters", connection, index=False)
    engine.dispose()


def texts(folder: Path) -> Documents:
    for key, value in TEXTS.items():
        (folder / key).with_suffix(".txt").write_text(value, encoding="utf-8")
    return sources.load(str(folder))


def jsonl(folder: Path) -> Documents:
    (folder / "documents.jsonl").write_text("﻿" + lines() + "\n", encoding="utf-8")
    return sources.load(str(folder))


def named_jsonl(folder: Path) -> Documents:
    (folder / "letters.jsonl").write_text(lines("id", "body", about="x"), encoding="utf-8")
    return sources.load(str(folder / "letters.jsonl"), columns=Columns("id", "body"))


def csv(folder: Path) -> Documents:
    frame().to_csv(folder / "letters.csv", index=False)
    return sources.load(str(folder / "letters.csv"))


def parquet(folder: Path) -> Documents:
    frame("id", "body").to_parquet(folder / "letters.parquet")
    return sources.load(str(folder / "letters.parquet"), columns=Columns("id", "body"))


def local_url(folder: Path) -> Documents:
    (folder / "letters.jsonl").write_text(lines(), encoding="utf-8")
    return sources.load(f"file://{folder}/letters.jsonl")


def remote_folder(folder: Path) -> Documents:
    for name, content in (("documents.jsonl", lines()), ("ontology.ttl", TURTLE)):
        with fsspec.open(f"memory://{folder.parent.name}/{name}", "wb") as file:
            file.write(content.encode())
    return sources.load(f"memory://{folder.parent.name}")


def inline(folder: Path) -> Documents:
    return sources.load(lines(), str(folder / "ontology.ttl"))


def query(folder: Path) -> Documents:
    url = f"sqlite:///{folder / 'letters.db'}"
    table(url, frame())
    select = "SELECT \"documentId\", text, '12:30 :x' FROM letters WHERE about LIKE 'x%' ORDER BY 1"
    return sources.load(url, str(folder / "ontology.ttl"), query=select)


@pytest.mark.parametrize(
    "load", [texts, jsonl, named_jsonl, csv, parquet, local_url, remote_folder, inline, query], ids=lambda load: load.__name__
)
def test_every_kind_of_source_gives_the_same_documents(load: Callable[[Path], Documents], folder: Path) -> None:
    documents = load(folder)
    assert {document.document_id.removesuffix(".txt"): document.text for document in documents} == TEXTS
    assert documents.ontology_content == TURTLE


def test_a_query_reads_from_postgresql(postgres_database: str, folder: Path, environment: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame({"id": range(1_000), "body": [f"letter {number}" for number in range(1_000)]})
    table(postgres_database, rows)
    # A worker's variable, since Prefect would show the address to everybody.
    environment.setenv("LETTERS", postgres_database)
    select = "SELECT id::text AS \"documentId\", body AS text FROM letters WHERE body LIKE 'letter 9%' ORDER BY id"
    found = list(sources.load("env:LETTERS", str(folder / "ontology.ttl"), query=select))
    assert len(found) == 111
    assert (found[0].document_id, found[-1].text) == ("9", "letter 999")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_a_table_of_any_make_is_read_field_by_field(end: str, folder: Path) -> None:
    long = "x" * 200_000
    rows = ["\ufefftext,documentId", "NA,007", f'"two{end}lines, ""quoted""",b', "", f"{long},c"]
    (folder / "letters.csv").write_bytes(end.join(rows).encode())
    found = {document.document_id: document.text for document in sources.load(str(folder / "letters.csv"))}
    assert found == {"007": "NA", "b": f'two{end}lines, "quoted"', "c": long}


def test_numbers_are_ids(folder: Path) -> None:
    pd.DataFrame({"documentId": [7, 8], "text": ["a", "b"]}).to_parquet(folder / "letters.parquet")
    assert [each.document_id for each in sources.load(str(folder / "letters.parquet"))] == ["7", "8"]


def bad_jsonl(line: str) -> Callable[[Path], Documents]:
    def load(folder: Path) -> Documents:
        (folder / "letters.jsonl").write_text(lines() + line + "\n", encoding="utf-8")
        return sources.load(str(folder / "letters.jsonl"))

    return load


def bad_table(suffix: str, document_id: Any, content: Any) -> Callable[[Path], Documents]:
    def load(folder: Path) -> Documents:
        rows = pd.concat([frame(), pd.DataFrame({"documentId": [document_id], "text": [content]})])
        path = folder / f"letters{suffix}"
        rows.to_csv(path, index=False) if suffix == ".csv" else rows.to_parquet(path)
        return sources.load(str(path))

    return load


def bad_csv(content: bytes) -> Callable[[Path], Documents]:
    def load(folder: Path) -> Documents:
        (folder / "letters.csv").write_bytes(content)
        return sources.load(str(folder / "letters.csv"))

    return load


def broken_parquet(folder: Path) -> Documents:
    (folder / "letters.parquet").write_bytes(b"PAR1 and nothing else")
    return sources.load(str(folder / "letters.parquet"))


def sqlite(select: str, name: str = "letters.db") -> Callable[[Path], Documents]:
    def load(folder: Path) -> Documents:
        table(f"sqlite:///{folder / 'letters.db'}", frame())
        return sources.load(f"sqlite:///{folder / name}", str(folder / "ontology.ttl"), query=select)

    return load


BAD: dict[str, tuple[Callable[[Path], Documents], str]] = {
    "a repeated id": (bad_jsonl('{"documentId": "a", "text": ""}'), "letters.jsonl line 4.*'a' is used twice.*line 1"),
    "a number for a text": (bad_jsonl('{"documentId": "x", "text": 5}'), "letters.jsonl line 4 text = 5"),
    "a NUL": (bad_jsonl('{"documentId": "x", "text": "\\u0000"}'), "letters.jsonl line 4 text.*NUL"),
    "a true id": (bad_jsonl('{"documentId": true, "text": ""}'), "letters.jsonl line 4 documentId = True"),
    "an empty id in a table": (bad_table(".csv", "", "x"), "letters.csv row 4 documentId = ''"),
    "a missing text": (bad_table(".parquet", "x", None), "letters.parquet row 4 text = None"),
    "a row too long": (
        bad_csv(b"documentId,text\n\na,x\nb,y,z\n"),
        r"letters.csv row 2 \(line 4\) = .*has 3 fields, the header 2",
    ),
    "a first row too long": (bad_csv(b"documentId,text\na,Hello, world\n"), r"letters.csv row 1 \(line 2\).*has 3 fields"),
    "a comma at the end of every row": (bad_csv(b"documentId,text\na,x,\nb,y,\n"), r"letters.csv row 1 \(line 2\).*has 3 fields"),
    "a row too short": (bad_csv(b'documentId,text\na,"x\ny"\nb\n'), r"letters.csv row 2 \(line 4\) = \['b'\]: has 1 fields"),
    "two columns of one name": (bad_csv(b"documentId,text,text\na,x,y\n"), "letters.csv text = .*more than one column"),
    "a quote that isn't closed": (bad_csv(b'documentId,text\na,x\nb,"y\nc,z\n'), r"letters.csv row 2 \(line 3\).*isn't CSV"),
    "a text behind a quote": (bad_csv(b'documentId,text\na,"x"y\n'), r"letters.csv row 1 \(line 2\).*isn't CSV.*quotes"),
    "an empty table": (bad_csv(b""), r"letters.csv documentId = \[\]: no such column"),
    "a table in Latin-1": (bad_csv(b"documentId,text\na,x\nb,\xe9\n"), "letters.csv line 3 = .*isn't UTF-8"),
    "no Parquet": (broken_parquet, "letters.parquet.*can't be read"),
    "a column that isn't there": (sqlite("SELECT 1 AS text"), "query documentId.*no such column"),
    "no SELECT": (sqlite("PRAGMA query_only=OFF"), "query = 'PRAGMA.*not authorized"),
    "a change": (sqlite("DELETE FROM letters"), "query = 'DELETE.*not authorized"),
    "no table any more": (sqlite("DROP TABLE letters"), "query = 'DROP.*not authorized"),
    "no such table": (sqlite("SELECT * FROM nowhere"), "query = .*no such table: nowhere"),
    "no query": (sqlite(""), "query = ''.*--query"),
    "no database": (sqlite("SELECT 1", "elsewhere.db"), "no such database file"),
    "a nest": (bad_jsonl("[" * 100_000), r"letters.jsonl line 4 = .*isn't JSON"),
    "a port that is none": (
        lambda folder: sources.load("postgresql://me:secret@here:five/x", str(folder / "ontology.ttl"), query="SELECT 1"),
        r"SOURCE = 'postgresql://me:\*\*\*@here:five/x': its port is not a number",
    ),
    "a driver for event loops": (
        lambda folder: sources.load("postgresql+asyncpg://here/x", str(folder / "ontology.ttl"), query="SELECT 1"),
        "SOURCE = 'postgresql.asyncpg://here/x': postgresql.asyncpg is a driver for event loops; write postgresql://",
    ),
    "a file named as a database": (lambda folder: sources.load("postgresql_letters.csv"), "no such file or folder"),
    "nobody behind a URL": (lambda folder: sources.load("ftp://127.0.0.1:1/x.csv"), "SOURCE = 'ftp://.*Connection refused"),
    "no file system": (lambda folder: sources.load("nowhere://x"), "SOURCE = 'nowhere://x'"),
    "no driver": (lambda folder: sources.load("gs://bucket/x.jsonl"), "SOURCE = 'gs://bucket/x.jsonl'.*install"),
    "no variable": (lambda folder: sources.load("env:NO_SUCH"), "there is no environment variable NO_SUCH"),
    "no ontology beside it": (
        lambda folder: (folder / "ontology.ttl").unlink() or bad_jsonl("")(folder),  # type: ignore[func-returns-value]
        "ontology = '.*: has no ontology, no file that ends in .ttl",
    ),
    "no ontology": (lambda folder: sources.load(lines()), "name it: --ontology"),
    "no such ontology": (lambda folder: sources.load(lines(), "gone.ttl"), "ontology = 'gone.ttl'.*no such file"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_source_is_refused_by_name_and_row(fault: str, folder: Path) -> None:
    load, said = BAD[fault]
    with pytest.raises(InvalidInputError, match=f"(?s){said}"):
        load(folder)
    if fault == "no database":
        assert not (folder / "elsewhere.db").exists()
    if fault in ("a change", "no table any more"):
        assert len(sqlite_rows(folder)) == len(TEXTS)


def sqlite_rows(folder: Path) -> list[Any]:
    with create_engine(f"sqlite:///{folder / 'letters.db'}").connect() as connection:
        return list(connection.execute(text("SELECT * FROM letters")))


SECRETS: dict[str, dict[str, str]] = {
    "a database that is away": {"source": "postgresql+psycopg://me:hush@127.0.0.1:1/x", "query": "SELECT 1"},
    "a database's URL that is none": {"source": "hush", "query": "SELECT 1"},
    "a port that is none": {"source": "postgresql://me:hush/@127.0.0.1/x", "query": "SELECT 1"},
    "a driver that isn't here": {"source": "mysql+hush://me:hush@127.0.0.1/x", "query": "SELECT 1"},
    "a query that is wrong": {"source": "sqlite:///{folder}/hush.db", "query": "SELECT"},
    "a web server that is away": {"source": "https://me:hush@127.0.0.1:1/x.csv?key=hush"},
    "no protocol": {"source": "hush://me:hush@127.0.0.1/hush"},
    "a server that is away": {"source": "ftp://me:hush@127.0.0.1:1/hush.csv"},
    "no such file": {"source": "/nowhere/hush.csv"},
    "no known ending": {"source": "{folder}/hush.db"},
    "a file that is bad": {"source": "{folder}/hush.csv"},
    "no ontology beside it": {"source": "{folder}/hush", "ontology": ""},
    "a bad ontology": {"source": "sample", "ontology": "{folder}/hush.csv"},
    "no such ontology": {"source": "sample", "ontology": "/nowhere/hush.ttl"},
}


@pytest.mark.parametrize("fault", SECRETS)
def test_what_a_variable_holds_is_never_said(fault: str, folder: Path, environment: pytest.MonkeyPatch) -> None:
    (folder / "hush.csv").write_bytes(b"documentId,text\na,\xe9\n")
    (folder / "hush").mkdir()
    (folder / "hush" / "documents.jsonl").write_text(lines(), encoding="utf-8")
    create_engine(f"sqlite:///{folder}/hush.db").connect().execute(text("CREATE TABLE x (y)"))
    given = {"ontology": str(folder / "ontology.ttl"), **SECRETS[fault]}
    said = {}
    for name in ("source", "ontology"):
        value = given[name].replace("{folder}", str(folder))
        said[name] = f"env:THEIR_{name.upper()}" if "hush" in value else value
        environment.setenv(f"THEIR_{name.upper()}", value)
    with pytest.raises(InvalidInputError, match="env:THEIR_") as raised:
        sources.load(said["source"], said["ontology"], query=given.get("query", ""))
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("fault", [name for name, given in SECRETS.items() if "me:hush@127" in given["source"]])
def test_a_password_in_a_url_is_never_said(fault: str, folder: Path) -> None:
    given = SECRETS[fault]
    address = given["source"].replace("mysql+hush", "mysql+x").replace("hush://", "x://").replace("/hush", "/x")
    with pytest.raises(InvalidInputError, match=r"me:.*@127") as raised:
        sources.load(address, str(folder / "ontology.ttl"), query=given.get("query", ""))
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("query", ["DROP TABLE letters", "SELECT nextval('counter')::text AS \"documentId\", '' AS text"])
def test_a_query_changes_nothing_in_postgresql(query: str, postgres_database: str, folder: Path) -> None:
    table(postgres_database, frame())
    engine = create_engine(postgres_database)
    with engine.begin() as connection:
        connection.execute(text("CREATE SEQUENCE counter"))
    with pytest.raises(InvalidInputError, match="query = "):
        sources.load(postgres_database, str(folder / "ontology.ttl"), query=query)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM letters")).scalar() == len(TEXTS)
        assert connection.execute(text("SELECT nextval('counter')")).scalar() == 1
    engine.dispose()


def test_postgresql_needs_no_driver_in_its_url(postgres_database: str, folder: Path) -> None:
    url = postgres_database.replace("postgresql+psycopg", "postgresql")
    select = "SELECT 'a' AS \"documentId\", 'x' AS text"
    assert len(sources.load(url, str(folder / "ontology.ttl"), query=select)) == 1


WITH_PASSWORD = [
    "postgresql+psycopg://me:secret@here/x",
    "postgresql://me:p@ss/word@here/x",
    "postgresql://me:secret@here:five/x",
    "postgresql://here/x?user=me&password=secret",
    "https://me:secret@here/letters.csv",
    "zip://letters.csv::https://me:1234@here/letters.zip",
    " ftp://me:secret@here/letters.csv",
]
WITHOUT = [
    "sample",
    "env:LETTERS",
    "postgresql://me@here/x",
    "postgresql://here:5432/x@y",
    "s3://bucket/letters.jsonl",
    "https://here:8080/letters@home.csv",
    "/home/me:you@here/letters",
    r"C:\letters.csv",
    '{"documentId": "a:b@c", "text": "https://me:secret@here"}',
]


@pytest.mark.parametrize("field", ["source", "ontology"])
@pytest.mark.parametrize("address", WITH_PASSWORD)
def test_a_deployments_parameters_bear_no_password(field: str, address: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{field} = .*env:NAME") as raised:
        deployed.refuse_password(field, address)
    assert not {"secret", "ss/word", "1234"} & set(str(raised.value).split())


@pytest.mark.parametrize("address", WITHOUT)
def test_an_address_without_a_password_is_fine(address: str) -> None:
    deployed.refuse_password("source", address)


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """The folder behind a web server of the standard library's, which gives a file as one stream."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            if "forbidden" in self.path:
                self.send_error(403)
            elif "short" in self.path:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"documentId,text\n")
            else:
                super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", "a folder"])
def test_every_kind_of_file_comes_over_the_web(suffix: str, web: str, folder: Path) -> None:
    (folder / "documents.jsonl").write_text(lines(), encoding="utf-8")
    (folder / "letters.jsonl").write_text(lines(), encoding="utf-8")
    frame().to_csv(folder / "letters.csv", index=False)
    frame().to_parquet(folder / "letters.parquet")
    address = f"{web}/" if suffix == "a folder" else f"{web}/letters{suffix}?key=of@mine"
    for documents in (sources.load(address, f"{web}/ontology.ttl"), sources.load(address)):
        assert {document.document_id: document.text for document in documents} == TEXTS
        assert documents.ontology_content == TURTLE


WEB: dict[str, tuple[str, str]] = {
    "a page that isn't there": ("{web}/nowhere.csv", "SOURCE = '{web}/nowhere.csv': no such file"),
    "a page that is forbidden": ("{web}/forbidden.csv", "forbidden.csv = '{web}/forbidden.csv': can't be read .*403"),
    "a page that ends early": ("{web}/short.csv", "short.csv.* = '{web}/short.csv': can't be read .*(Payload|payload)"),
    "a server that is away": ("http://127.0.0.1:1/x.csv", "x.csv = 'http://127.0.0.1:1/x.csv': can't be read .*[Cc]onnect"),
}


@pytest.mark.parametrize("fault", WEB)
def test_what_the_web_refuses_is_named(fault: str, web: str, folder: Path) -> None:
    address, said = (each.replace("{web}", web) for each in WEB[fault])
    with pytest.raises(InvalidInputError, match=said):
        sources.load(address, str(folder / "ontology.ttl"))


def test_documents_are_read_as_often_as_wanted_side_by_side() -> None:
    documents = Documents((Row(f"row {n}", f"d{n}", "é" * n) for n in range(5)), TURTLE)
    assert len(documents) == 5
    for one, other in zip(documents, documents, strict=True):
        assert one == other
    assert [len(document.text) for document in documents] == [0, 1, 2, 3, 4]


def test_a_streamed_batch_is_the_batch_that_its_documents_make(
    environment: pytest.MonkeyPatch, request_of: Any, folder: Path
) -> None:
    scripted = [faults.document(f"d{number}") for number in range(250)]
    rows = (Row(each["documentId"], each["documentId"], each["text"]) for each in scripted)
    request = Documents(rows, scripted[0]["ontologyContent"]).request("streamed", {"concurrency": 2})
    assert type(flows.run_request(request)).__name__ == "Completed"
    inline = request_of(scripted, "streamed", concurrency=2)
    inline |= {"organizationId": request.organization_id, "ontologyId": request.ontology_id}
    # The same input by the other way in: the stored result.
    assert flows.run_batch(inline).success_count == 250
    assert set(faults.knocks().values()) == {1}
    with pytest.raises(InvalidStateTransitionError, match="other input"):
        flows.run_batch({**inline, "documents": scripted[:-1]})


def streamed(batch_id: str, *documents: dict[str, str]) -> Any:
    rows = (Row(each["documentId"], each["documentId"], each["text"]) for each in documents)
    return Documents(rows, "# one ontology").request(batch_id, {})


def test_only_what_no_older_batch_has_extracted_is_new(environment: pytest.MonkeyPatch) -> None:
    good, bad, other = faults.document("a"), faults.document("b", fail=faults.ALWAYS, how="broken"), faults.document("c")
    flows.run_request(streamed("first", good, bad))
    renamed = {**good, "documentId": "a again"}
    request = streamed("second", renamed, bad, other).only_new(Store.from_settings())
    assert [each.document_id for each in request.documents] == ["b", "c"]
    flows.run_request(request)
    # Asked again, the second batch is the same, though it has extracted c by now.
    again = streamed("second", renamed, bad, other).only_new(Store.from_settings())
    assert [each.document_id for each in again.documents] == ["b", "c"]
    assert [each.document_id for each in streamed("third", renamed, bad, other).only_new(Store.from_settings()).documents] == [
        "b"
    ]
    changed = Documents(iter([Row("a", "a", good["text"])]), "# another ontology").request("fourth", {})
    assert len(changed.only_new(Store.from_settings()).documents) == 1


MEMORY = """
import pathlib, resource, sys
import flows
from flows.sources import readers as sources
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[3]), int(sys.argv[3])))
request = sources.load(sys.argv[2], sys.argv[4]).request("large", {"concurrency": 4})
state = flows.run_request(request, sys.argv[1])
# Not ru_maxrss, which begins with what the parent had.
[peak] = [line.split()[1] for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(type(state).__name__, int(peak) * 1024)
"""


def large_jsonl(path: Path, texts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, content in enumerate(texts):
            file.write(json.dumps({"documentId": f"d{number}", "text": content}) + "\n")


def large_parquet(path: Path, texts: Iterable[str]) -> None:
    """A single row group, as pandas writes a table of up to a million rows."""
    chunks = [pyarrow.array([content]) for content in texts]
    table = pyarrow.table({"documentId": [f"d{number}" for number in range(len(chunks))], "text": pyarrow.chunked_array(chunks)})
    pyarrow.parquet.write_table(table, path, row_group_size=len(chunks), compression="none", use_dictionary=False)
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 1


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "write"), [("legacy", large_jsonl), ("engine", large_jsonl), ("legacy", large_parquet)])
def test_20_000_rows_of_a_file_larger_than_the_memory_allowed(
    mode: str, write: Callable[[Path, Iterable[str]], None], environment: pytest.MonkeyPatch, folder: Path
) -> None:
    path, limit = folder / f"large.{write.__name__.removeprefix('large_')}", 640 * 2**20
    write(path, (f"{number} " + "word " * 7_200 for number in range(20_000)))
    assert path.stat().st_size > limit
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:indifferent")
    child = processes.start(
        MEMORY, mode, str(path), str(limit), str(folder / "ontology.ttl"), PREFECT_HOME=str(folder / "prefect")
    )
    said, complaints = child.communicate()
    assert child.returncode == 0, complaints
    state, peak = said.split()
    print(f"{mode}, {path.suffix}: a file of {path.stat().st_size / 2**20:.0f} MiB, {int(peak) / 2**20:.0f} MiB resident at most")
    assert state == "Completed"
    assert Store.from_settings().batch("large").completed_documents == 20_000
