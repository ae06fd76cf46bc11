"""Runs of a deployment read the sample, what the deployment names, and what KNOWLEDGE_SOURCES_ALLOW lists; nothing else."""

import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from compat.errors import InvalidInputError
from compat.settings import Settings
from flows import sources
from flows.sources.allowed import Allowed

LINE = '{"documentId": "a", "text": "The sea."}\n'
ONTOLOGY = "<https://x.org/Sea> a <http://www.w3.org/2002/07/owl#Class> ."
LEAK = "root:x:0:0:hunter2"


@pytest.fixture
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """A folder that may be read, beside one that may not."""
    for name in ("letters", "secrets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ontology.ttl").write_text(ONTOLOGY, encoding="utf-8")
        (tmp_path / name / "documents.jsonl").write_text(LINE, encoding="utf-8")
    (tmp_path / "secrets" / "shadow.csv").write_text(LEAK, encoding="utf-8")
    environment.setenv("KNOWLEDGE_SOURCES_ALLOW", f"{tmp_path}/letters, https://example.org/archive")
    return tmp_path / "letters"


def load(source: str, ontology: str = "", query: str = "", *, named: tuple[str, ...] = ()) -> int:
    return len(sources.load(source, ontology, query=query, allowed=Allowed.of(Settings.load(), named)))


def refusal(source: str, **given: Any) -> str:
    with pytest.raises(InvalidInputError) as raised:
        load(source, **given)
    assert "hunter2" not in str(raised.value)
    return str(raised.value)


def test_what_is_listed_is_read(folder: Path) -> None:
    assert load(str(folder)) == load(f"file://{folder}/documents.jsonl") == load(f"{folder}/*.jsonl") == 1
    assert load(LINE, f"{folder}/ontology.ttl") == 1


def test_the_sample_is_read_where_nothing_is_listed(folder: Path, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("KNOWLEDGE_SOURCES_ALLOW")
    assert load("sample") == 25
    assert "KNOWLEDGE_SOURCES_ALLOW" in refusal(str(folder))


def test_what_the_deployment_names_is_read_with_the_ontology_beside_it(folder: Path, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("KNOWLEDGE_SOURCES_ALLOW")
    environment.setenv("OURS", str(folder))
    for named in (str(folder), f"{folder}/documents.jsonl", f"{folder}/*.jsonl", "env:OURS"):
        assert load(named, named=(named,)) == 1
    assert "may not be read" in refusal(f"{folder.parent}/secrets", named=(str(folder),))


OTHERS = {
    "a neighbour": "{beside}",
    "a neighbour whose name begins alike": "{folder}-not",
    "a way out": "{folder}/../secrets/documents.jsonl",
    "a way out behind a pattern": "{folder}/*/../../secrets/*.jsonl",
    "a file that isn't there": "{beside}/gone.jsonl",
    "a URL of a file": "file://{beside}/documents.jsonl",
    "a URL that isn't quite one": "file:{beside}/documents.jsonl",
    "fsspec's own name of it": "local://{beside}/documents.jsonl",
    "a chain": "simplecache::file://{beside}/documents.jsonl",
    "a chain that begins well": "filecache::{folder}/documents.jsonl",
    "a zip's member": "zip://a.jsonl::{folder}/a.zip",
    "the root": "/",
    "users": "/etc/passwd",
    "users by a URL": "file:///etc/passwd",
    "this process": "/proc/self/environ",
    "a variable that nobody listed": "env:SECRETS",
    "an address of a cloud's own": "http://169.254.169.254/latest/meta-data/a.jsonl",
    "this machine": "http://127.0.0.1:1/a.jsonl",
    "this machine by its name": "http://localhost:1/a.jsonl",
    "another server": "https://example.com/archive/a.jsonl",
    "another server behind the listed one's name": "https://example.org@example.com/archive/a.jsonl",
    "another port": "https://example.org:8443/archive/a.jsonl",
    "another folder of the server": "https://example.org/private/a.jsonl",
    "a folder whose name begins alike": "https://example.org/archives/a.jsonl",
    "a way out on the server": "https://example.org/archive/../private/a.jsonl",
    "a way out that is encoded": "https://example.org/archive/%2e%2e/private/a.jsonl",
    "a bucket": "memory://letters/a.jsonl",
    "data": "data:text/plain,x",
}


@pytest.mark.parametrize("case", OTHERS)
def test_everything_else_is_refused_before_it_is_asked_for(case: str, folder: Path, environment: pytest.MonkeyPatch) -> None:
    beside = folder.parent / "secrets"
    environment.setenv("SECRETS", str(beside))
    address = OTHERS[case].format(folder=folder, beside=beside)
    assert "runs of a deployment" in refusal(address)
    if ".jsonl" not in address:
        return
    # As an ontology no less.
    assert "runs of a deployment" in refusal("sample", ontology=address)


@pytest.mark.parametrize(
    "named", ["file:///etc/passwd", "/proc/self/environ", "http://169.254.169.254/a.jsonl", "http://[::1]/a.jsonl"]
)
def test_a_folder_of_the_system_and_this_machine_are_refused_though_the_deployment_names_them(named: str, folder: Path) -> None:
    assert "runs of a deployment" in refusal(named, named=(named,))


def test_the_services_own_home_is_refused_though_it_is_listed(folder: Path, environment: pytest.MonkeyPatch) -> None:
    home = folder.parent / "home"
    home.mkdir()
    (home / "documents.jsonl").write_text(LINE, encoding="utf-8")
    environment.setenv("KNOWLEDGE_SOURCES_ALLOW", str(folder.parent))
    assert "KNOWLEDGE_HOME" in refusal(str(home / "documents.jsonl"), ontology=f"{folder}/ontology.ttl")


def test_links_out_of_the_folder_are_not_followed(folder: Path) -> None:
    (folder / "documents.jsonl").unlink()
    (folder / "inside.txt").write_text("The sea.", encoding="utf-8")
    (folder / "link.txt").symlink_to(folder.parent / "secrets" / "shadow.csv")
    (folder / "way.txt").symlink_to(folder / "inside.txt")
    (folder / "elsewhere").symlink_to(folder.parent / "secrets")
    found = sources.load(str(folder), allowed=Allowed.of(Settings.load()))
    assert [document.document_id for document in found] == ["inside.txt", "way.txt"]
    assert "link.txt (may not be read" in " ".join(found.reading.notes())
    assert "runs of a deployment" in refusal(f"{folder}/elsewhere/documents.jsonl")
    (folder / "documents.jsonl").symlink_to(folder.parent / "secrets" / "documents.jsonl")
    assert "runs of a deployment" in refusal(str(folder))
    (folder / "documents.jsonl").unlink()
    (folder / "ontology.ttl").unlink()
    os.symlink(folder.parent / "secrets" / "ontology.ttl", folder / "ontology.ttl")
    assert "runs of a deployment" in refusal(str(folder))


def test_databases_are_read_where_they_are_listed_or_named(folder: Path, environment: pytest.MonkeyPatch) -> None:
    for each in (folder, folder.parent / "secrets"):
        with sqlite3.connect(each / "letters.db") as connection:
            connection.execute("CREATE TABLE t AS SELECT 'a' AS documentId, 'The sea.' AS text")
    given: dict[str, Any] = {"ontology": f"{folder}/ontology.ttl", "query": "SELECT * FROM t"}
    assert load(f"sqlite:///{folder}/letters.db", **given) == 1
    other = f"sqlite:///{folder.parent}/secrets/letters.db"
    assert load(other, named=(other,), **given) == 1
    environment.setenv("OWN", Settings.load().url)
    for address in (other, f"sqlite:///file:{folder.parent}/secrets/letters.db?uri=true", f"sqlite:///{folder}/letters.db?x=1"):
        assert "runs of a deployment" in refusal(address, **given)
    for address in ("postgresql://reader@example.org/archive", "postgresql://reader@127.0.0.1/archive"):
        assert "runs of a deployment" in refusal(address, **given)
    assert "the service's own" in refusal("env:OWN", named=("env:OWN",), **given)


def test_an_entry_that_is_no_place_is_named(folder: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KNOWLEDGE_SOURCES_ALLOW", "letters")
    assert "KNOWLEDGE_SOURCES_ALLOW = 'letters'" in refusal("sample")


# --- On the web -----------------------------------------------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    """Files, and redirects from ``/…/to?URL``."""

    def __init__(self, asked: list[str], *arguments: Any) -> None:
        self.asked = asked
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name, _, target = self.path.partition("?")
        if name.endswith("to.jsonl"):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = (ONTOLOGY if name.endswith(".ttl") else LINE).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, asked))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_redirect_is_followed_to_what_may_be_read_and_nowhere_else(
    web: tuple[str, list[str]], folder: Path, environment: pytest.MonkeyPatch
) -> None:
    address, asked = web
    environment.setenv("KNOWLEDGE_SOURCES_ALLOW", f"{address}/open,{folder}")
    given: dict[str, Any] = {"ontology": f"{folder}/ontology.ttl"}
    assert load(f"{address}/open/a.jsonl", **given) == 1
    assert load(f"{address}/open/to.jsonl?{address}/open/a.jsonl", **given) == 1
    port = address.rpartition(":")[2]
    for target in (
        f"{address}/closed/a.jsonl",
        "/closed/a.jsonl",
        f"http://localhost:{port}/open/a.jsonl",
        "http://169.254.169.254/a",
    ):
        assert "runs of a deployment" in refusal(f"{address}/open/to.jsonl?{target}", **given)
    assert not [path for path in asked if path.startswith("/closed")]


def test_a_name_that_turns_out_to_be_this_machine_is_not_connected_to(
    web: tuple[str, list[str]], folder: Path, environment: pytest.MonkeyPatch
) -> None:
    address, asked = web
    named = f"http://localhost:{address.rpartition(':')[2]}/open/a.jsonl"
    assert "address of this machine" in refusal(named, ontology=f"{folder}/ontology.ttl", named=(named,))
    assert asked == []
