"""The command's manners: what it says of itself, what it refuses, and that every fault has a name and no traceback."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import update

import faults
import flows
from compat.contracts import BatchConfig, BatchParams, utc_now
from compat.errors import BatchNotFoundError, InvalidInputError
from compat.keepable import one_line
from compat.store import Store
from compat.store.overview import rerun_of_failed
from compat.store.schema import BatchExecution
from flows.sources import places
from flows.sources import readers as sources

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def source_of(path: Path, *documents: dict[str, str]) -> str:
    path.mkdir()
    (path / "ontology.ttl").write_text("# none", encoding="utf-8")
    lines = [json.dumps({key: document[key] for key in ("documentId", "text")}) for document in documents]
    (path / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_the_version_is_the_packages(command: Command) -> None:
    assert command("--version").stdout == f"knowledge-batch {version('knowledge-batch')}\n"


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["mode", "-h"]])
def test_h_shows_help(arguments: list[str], command: Command) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: knowledge-batch" in done.stdout


def test_the_list_of_commands_cuts_no_sentence(command: Command) -> None:
    assert "..." not in command("--help", COLUMNS="80").stdout.replace("[ARGS]...", "")


def test_quiet_says_nothing_but_errors(command: Command, tmp_path: Path) -> None:
    source = source_of(tmp_path / "source", faults.document("a"))
    assert command("-q", "run", source).stderr == ""
    assert command("-q", "status", "nowhere").stderr.startswith("error: No batch nowhere")
    assert command("-q", "-v", "list").returncode == 2


def test_colours_are_for_terminals_alone(command: Command, tmp_path: Path) -> None:
    done = command("run", source_of(tmp_path / "source", faults.document("a")), FORCE_COLOR="1")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["statu", "b"], "Did you mean 'status'?"),
        (["list", "--limt", "3"], "--limit"),
        (["run", "sample", "--mode", "engin"], "did you mean engine?"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(arguments: list[str], advice: str, command: Command) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert advice in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["sample", "--max-retries", "5"],
        ["sample", "--policy", "abort-all", "--concurrency", "2"],
        ["sample", "--query", "SELECT 1"],
        ["sample", "--id-column", "x"],
        ["sample", "--delimiter", "tab"],
        ["sample", "--extractor", "rules", "--fresh"],
        ["sample", "--failed-of", "b"],
    ],
    ids=" ".join,
)
def test_an_option_that_would_have_no_effect_is_refused(options: list[str], command: Command, tmp_path: Path) -> None:
    done = command("run", *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("option", ["--evidence", "--tables", "--raw"])
def test_an_option_of_another_format_is_refused(option: str, command: Command) -> None:
    done = command("export", "b", "--to", "graph.html", option)
    assert (done.returncode, option in done.stderr) == (2, True)


@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_source_is_refused(source: str, command: Command) -> None:
    done = command("run", source)
    assert done.returncode == 2
    assert "is empty" in done.stderr


@pytest.mark.parametrize("ask", ["status", "events", "cancel", "resume", "calls"])
@pytest.mark.parametrize("batch_id", ["\udcff", "a\x00b"])
def test_an_id_that_no_database_keeps_is_not_found(ask: str, batch_id: str, command: Command) -> None:
    assert command(ask, batch_id).returncode == 5


def test_an_id_that_postgresql_cannot_keep_is_not_found(upgraded_postgres_database: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", upgraded_postgres_database)
    for batch_id in ("\udcff", "a\x00b"):
        with pytest.raises(BatchNotFoundError):
            Store.from_settings().state(batch_id)


@pytest.mark.parametrize("name", ["folder.ttl", "/proc/x.ttl", "x" * 300 + ".ttl"])
def test_a_file_that_cannot_be_written_is_named(name: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "folder.ttl").mkdir()
    command("run", "sample", "--batch-id", "b", KNOWLEDGE_EXTRACTOR="rules")
    for arguments in (["export", "b", "--to", name], ["parity", "report", "--html", name]):
        done = command(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {arguments[-2]} = ")


@pytest.mark.parametrize(
    "source",
    [
        "data:",
        "data:,",
        "reference://",
        "jupyter://",
        "github://",
        "ftp://",
        "webhdfs://",
        "dbfs://",
        "dir::dir",
        "dask://x",
        "simplecache::dask://x",
    ],
)
def test_an_address_that_a_file_system_cannot_take_is_named(source: str, command: Command) -> None:
    done = command("run", source)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: SOURCE = '{source}'") or f"= '{source}'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variable", ["LEASE_SECONDS", "RETRY_BASE_SECONDS", "LLM_TIMEOUT_SECONDS", "LLM_FRESH_SINCE"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e400"])
def test_a_number_without_end_is_refused(variable: str, value: str, command: Command) -> None:
    done = command("run", "sample", **{f"KNOWLEDGE_{variable}": value})
    assert (done.returncode, f"KNOWLEDGE_{variable}" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [["prune", "--older-than"], ["parity", "report", "--since"]], ids=" ".join)
def test_an_age_before_all_time_is_refused(arguments: list[str], command: Command) -> None:
    assert command(*arguments, "99999999999999d").returncode == 2


def test_failed_documents_are_in_sight_and_can_be_run_again(command: Command, tmp_path: Path) -> None:
    source = source_of(tmp_path / "source", faults.document("good"), faults.document("bad", fail=faults.ALWAYS, how="ontology"))
    done = command("run", source, "--batch-id", "first", "--fail-on-error")
    assert done.returncode == 1
    assert "knowledge-batch run --failed-of first" in done.stdout
    status = command("status", "first").stdout
    assert "bad: " in status
    assert "knowledge-batch run --failed-of first" in status
    [failure] = json.loads(command("status", "first", "--format", "json").stdout)["failures"]
    assert failure["documentId"] == "bad"
    again = command("run", "--failed-of", "first", "--batch-id", "second")
    assert again.returncode == 1
    assert "1 (0 extracted, 1 failed)" in again.stdout
    assert json.loads(command("status", "first", "--format", "json").stdout)["rerunBy"] == ["second"]
    assert json.loads(command("status", "second", "--format", "json").stdout)["failedOf"] == "first"
    assert "first" in command("status", "second").stdout


def test_a_batch_without_failures_is_not_run_again(command: Command, tmp_path: Path) -> None:
    command("run", source_of(tmp_path / "source", faults.document("a")), "--batch-id", "good")
    done = command("run", "--failed-of", "good")
    assert (done.returncode, "has no failed document" in done.stderr) == (2, True)
    assert command("run", "--failed-of", "nowhere").returncode == 5


def test_failed_documents_keep_text_and_ontology(
    environment: pytest.MonkeyPatch, request_of: Callable[..., dict[str, object]]
) -> None:
    import legacy
    from compat.modes import Decision, Mode
    from compat.recording.recorder import Recorder

    store = Store.from_settings()
    request = BatchParams.parse(request_of([faults.document("a"), faults.document("b", fail=faults.ALWAYS, how="ontology")]))
    claim = store.claim(request, Decision(Mode.LEGACY, "a test"), "old")
    assert claim is not None
    with Recorder(store, claim, 0.0) as recorder:
        legacy.run(recorder, faults.scripted())
    [document] = rerun_of_failed(store, "old", "new", BatchConfig()).documents
    assert document == request.documents[1]


def test_what_steers_a_terminal_is_shown_as_an_escape() -> None:
    assert one_line("a\x1b[31m\nb\r\x9b\u202ec") == r"a\x1b[31m\nb\r\x9b\u202ec"


def test_a_document_cannot_write_lines_of_its_own_in_terminal_or_log(command: Command, tmp_path: Path) -> None:
    hostile = faults.document("a \x1b]0;owned b", fail=faults.ALWAYS, how="ontology")
    done = command("-v", "run", source_of(tmp_path / "source", hostile))
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "query",
    ["ATTACH '{other}' AS x", "VACUUM INTO '{other}'", "PRAGMA user_version = 7", "CREATE TEMP TABLE x (y)", "DROP TABLE t"],
)
def test_a_query_writes_nothing_anywhere(query: str, tmp_path: Path) -> None:
    file, other = tmp_path / "a b.db", tmp_path / "other.db"
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE t (documentId, text)")
        made.execute("INSERT INTO t VALUES ('a', 'A letter.')")
    made.close()
    (tmp_path / "ontology.ttl").write_text("# none", encoding="utf-8")
    before = file.read_bytes()
    with pytest.raises(InvalidInputError, match="query = "):
        sources.load(f"sqlite:///{file}", str(tmp_path / "ontology.ttl"), query=query.format(other=other))
    assert (file.read_bytes(), other.exists()) == (before, False)
    assert len(sources.load(f"sqlite:///{file}", str(tmp_path / "ontology.ttl"), query="SELECT * FROM t")) == 1


@pytest.mark.parametrize(
    "address",
    [
        "https://h/x?sig=1",
        "https://h/x?a=1&X-Amz-Signature=1",
        "https://h/x?api_key=1",
        "https://h/x?access_token=1",
        "https://ghp_1@h/x",
    ],
)
def test_a_key_in_an_address_is_a_password(address: str) -> None:
    assert places.has_password(address)


@pytest.mark.parametrize("chain", ["simplecache::file:///{folder}/hush/x.csv", "zip://hush.csv::file:///{folder}/hush.zip"])
def test_a_chain_of_addresses_in_a_variable_is_never_said(chain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIRS", chain.format(folder=tmp_path))
    with pytest.raises(InvalidInputError, match="env:THEIRS") as raised:
        sources.load("env:THEIRS", str(tmp_path / "ontology.ttl"))
    assert "hush" not in str(raised.value)


def test_what_lies_in_the_home_is_for_its_owner_alone(command: Command, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        ours = {"KNOWLEDGE_DATABASE_URL": f"sqlite:///{tmp_path / 'home' / 'knowledge.db'}"}
        command("run", source_of(tmp_path / "source", faults.document("a")), "--batch-id", "private", **ours)
        command("export", "private", "--to", str(tmp_path / "graph.ttl"), **ours)
    finally:
        os.umask(before)
    home = tmp_path / "home"
    seen = {each.relative_to(home).as_posix(): each.stat().st_mode & 0o777 for each in (home, *home.rglob("*"))}
    assert "knowledge.db" in seen
    assert set(seen.values()) <= {0o700, 0o600}, seen
    assert (tmp_path / "graph.ttl").stat().st_mode & 0o777 == 0o644


def test_prune_says_what_is_old_and_changes_nothing_until_it_is_told(
    command: Command, request_of: Callable[..., dict[str, object]]
) -> None:
    flows.run_batch(request_of([faults.document("a")], "old"), "legacy")
    long_ago = utc_now() - timedelta(days=30)
    with Store.from_settings().database.write() as connection:
        connection.execute(update(BatchExecution).values(completed_at=long_ago))
    looked = command("prune", "--older-than", "10d")
    assert looked.returncode == 0
    assert "1, with 1 documents" in looked.stdout
    assert "for the gate: 0 parity reports" in looked.stdout
    assert "--delete removes what is older" in looked.stderr
    assert command("status", "old").returncode == 0
    removed = json.loads(command("prune", "--older-than", "10d", "--delete", "--format", "json").stdout)
    assert (removed["removed"], removed["old"]["batches"], removed["kept"]["in_gate_window"]) == (True, 1, 0)
    assert command("status", "old").returncode == 5
