"""What others write (documents, files' names, errors) steers nothing: terminal, log, Prefect's page, spreadsheets."""

import csv
import io
import json
import logging
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stacks
from markdown_it import MarkdownIt

import faults
import flows
from compat.contracts import DocumentFailed
from compat.keepable import neutral_json
from compat.markdown import escaped
from compat.store import Store
from compat.store.overview import overview
from flows.engine import publishing

Command = Callable[..., "subprocess.CompletedProcess[str]"]
# An escape sequence, a line of its own, C1's shorter way to the same, and what turns the direction of a line.
HOSTILE = "\x1b]0;owned\x07\nERROR all is lost \x9b31m \u202egnp.exe ![x](https://example.org/x.png) <img src=x onerror=alert(1)>"
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture
def failed(environment: pytest.MonkeyPatch, request_of: Callable[..., dict[str, Any]]) -> str:
    """A batch whose document fails of an error that quotes it."""
    broken = {"documentId": "a", "text": json.dumps({"fail": HOSTILE}), "ontologyContent": ""}
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:quoting")
    flows.run_batch(request_of([broken], "hostile"), "legacy")
    return "hostile"


class Quoting:
    def run(self, text: str, ontology_content: str, config: Any) -> Any:
        raise faults.BrokenDocumentError(f"can't read {json.loads(text)['fail']}")


def quoting() -> Quoting:
    return Quoting()


@pytest.mark.parametrize(
    "line",
    [
        "status hostile",
        "status hostile --format json",
        "events hostile",
        "list --format json",
        "-v resume hostile",
        "parity show hostile",
    ],
)
def test_no_command_puts_it_on_the_terminal(line: str, failed: str, command: Command) -> None:
    done = command(*line.split())
    assert not STEERING.search(done.stdout + done.stderr)
    assert "\nERROR all is lost" not in done.stdout + done.stderr


def test_json_of_it_means_the_same() -> None:
    text = neutral_json(json.dumps({"a": HOSTILE}, ensure_ascii=False))
    assert json.loads(text) == {"a": HOSTILE}
    assert not STEERING.search(text)


def test_a_log_line_of_whoever_imports_us_holds_it_as_text(
    environment: pytest.MonkeyPatch, request_of: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:quoting")
    broken = {"documentId": "a", "text": json.dumps({"fail": HOSTILE}), "ontologyContent": ""}
    with caplog.at_level(logging.INFO, "knowledge_batch"):
        flows.run_batch(request_of([broken], "logged"), "legacy")
    said = [record.getMessage() for record in caplog.records if "can't read" in record.getMessage()]
    assert said
    assert not [text for text in said if STEERING.search(text) or "\n" in text]


def test_prefects_page_shows_it_as_text(failed: str) -> None:
    store = Store.from_settings()
    seen = overview(store, failed)
    logged = publishing.line(DocumentFailed(batch_id=failed, document_id="a", error=HOSTILE))
    assert logged is not None
    html = MarkdownIt("gfm-like", {"linkify": False}).render(publishing.summary(seen.batch, head=f"| {escaped(HOSTILE)} |"))
    assert not re.search(r"<(img|script|a) ", html)
    assert not STEERING.search(publishing.summary(seen.batch) + escaped(HOSTILE) + json.dumps(publishing.table(seen)))


def test_a_spreadsheet_runs_no_cell_of_it(
    environment: pytest.MonkeyPatch, request_of: Callable[..., dict[str, Any]], tmp_path: Path, command: Command
) -> None:
    flows.run_batch(
        request_of([faults.document("a", names=("=HYPERLINK(1)", "+1 cmd", "-1 cmd", "@SUM(A1)"))], "cells"), "legacy"
    )
    for option in ([], ["--tables"]):
        assert command("export", "cells", "--to", str(tmp_path / "cells.csv"), *option).returncode == 0
    cells = [
        cell
        for file in tmp_path.glob("cells*.csv")
        for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8")))
        for cell in row
    ]
    assert [cell for cell in cells if "HYPERLINK" in cell]
    assert [cell for cell in cells if cell.startswith(("=", "+", "@"))] == []


def test_a_files_name_is_told_as_text(tmp_path: Path, command: Command) -> None:
    source = Path(stacks.source(tmp_path / "source", [faults.document("a")]))
    (source / "odd \x1b[31m\nname.pdf").write_text("x", encoding="utf-8")
    done = command("run", str(source), "--mode", "legacy")
    assert "odd \\x1b[31m\\nname.pdf" in done.stderr
    assert not STEERING.search(done.stdout + done.stderr)
