"""The command as its users run it: its two streams and its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processes
import pytest
from sqlalchemy import update

import faults
import flows
from compat.contracts import BatchResult
from compat.store import Store
from compat.store.schema import BatchRun

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def process(environment: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs knowledge-batch in a folder and a process of its own."""
    paths = [str(Path(faults.__file__).parent), *sys.path]

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "flows.command.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables},
        )

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of scripted documents."""
    return folder(tmp_path / "source", [faults.document("a", fail=1), faults.document("b")])


def folder(path: Path, documents: list[dict[str, str]]) -> Path:
    path.mkdir()
    (path / "ontology.ttl").write_text("# none", encoding="utf-8")
    lines = [json.dumps({key: document[key] for key in ("documentId", "text")}, ensure_ascii=False) for document in documents]
    (path / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_run_ends_with_a_table_and_the_next_command(process: Command, source: Path) -> None:
    done = process("run", str(source), "--batch-id", "my batch")
    assert done.returncode == 0
    cells = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert cells.pop("time").endswith(" s")
    assert cells == {
        "batch": "my batch",
        "status": "completed",
        "documents": "2 (2 extracted, 0 failed)",
        "entities": "3 (4 in documents)",
        "relations": "2",
        "next": "knowledge-batch view 'my batch'",
        "knowledge-batch": "export 'my batch' --to graph.ttl",
    }
    assert "Traceback" not in done.stderr


def test_a_batch_in_shadow_mode_says_how_to_see_its_comparison(command: Command, source: Path) -> None:
    done = command("run", str(source), "--batch-id", "b", "--mode", "shadow")
    assert done.stdout.splitlines()[-1].split() == ["knowledge-batch", "parity", "show", "b"]


def test_run_in_json_prints_one_value_that_is_the_result(command: Command, source: Path) -> None:
    done = command("run", str(source), "--format", "json")
    assert BatchResult.model_validate_json(done.stdout).success_count == 2


def test_failures_are_shown_with_their_reasons(command: Command, tmp_path: Path) -> None:
    broken = folder(
        tmp_path / "broken", [faults.document("bad [one]", fail=faults.ALWAYS, how="ontology"), faults.document("good")]
    )
    done = command("run", str(broken))
    assert done.returncode == 0
    assert "bad [one]: OntologyParseError: line 3: expected a predicate" in done.stdout


def test_a_batch_in_which_every_document_failed_exits_1(process: Command, tmp_path: Path) -> None:
    broken = folder(tmp_path / "broken", [faults.document("bad", fail=faults.ALWAYS, how="ontology")])
    done = process("run", str(broken), "--batch-id", "failed")
    assert done.returncode == 1
    # What the ontology says stays the same, so a resume is not advised.
    assert "run it as a new batch" in done.stdout
    assert "knowledge-batch resume" not in done.stdout


def test_a_rollback_is_one_line_on_stderr_and_in_the_log(process: Command, source: Path, tmp_path: Path) -> None:
    away = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "prefect")}
    done = process("run", str(source), "--mode", "engine", "--batch-id", "back", **away)
    assert done.returncode == 0
    [line] = [line for line in done.stderr.splitlines() if "rolled back" in line]
    assert line.startswith(
        "batch back: rolled back from engine to legacy: PrefectUnavailableError: Prefect's API at http://127.0.0.1:9/api"
    )
    assert line in (tmp_path / "home" / "logs" / "knowledge-batch.log").read_text(encoding="utf-8")


def test_engine_mode_prints_progress_and_table_and_nothing_else(process: Command, source: Path, tmp_path: Path) -> None:
    done = process("run", str(source), "--mode", "engine", PREFECT_HOME=str(tmp_path / "prefect"))
    assert done.returncode == 0
    begin = {line.split()[0].rstrip(":") for line in done.stderr.splitlines()}
    assert begin <= {"ontology.ttl", "starting", "extracting", "resolving"}
    headings = [line.split()[0] for line in done.stdout.splitlines()]
    assert headings == ["batch", "status", "documents", "entities", "relations", "time", "next", "knowledge-batch"]


BAD_CALLS: list[tuple[list[str], str]] = [
    (["--concurrency", "0"], "config.concurrency = 0"),
    (["--concurrency", "21"], "config.concurrency = 21"),
    (["--concurrency", "three"], "'--concurrency': 'three' is not a whole number"),
    (["--policy", "give-up"], "config.failurePolicy = 'give-up'"),
    (["--policy", "retry-failed", "--max-retries", "-1"], "config.maxRetries = -1"),
    (["--policy", "retry-failed", "--max-retries", "1001"], "config.maxRetries = 1001"),
    (["--batch-id", ""], "batchId = ''"),
    (["--mode", "enigne"], "mode = 'enigne'"),
    (["--format", "yaml"], "format = 'yaml'"),
    (["--ontology", "nowhere.ttl"], "nowhere.ttl"),
]


@pytest.mark.parametrize(("options", "said"), BAD_CALLS, ids=[" ".join(options) for options, _ in BAD_CALLS])
def test_a_bad_call_exits_2_names_what_is_wrong_and_writes_nothing(
    options: list[str], said: str, command: Command, source: Path, tmp_path: Path
) -> None:
    done = command("run", str(source), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_an_output_that_cannot_be_made_is_said_before_the_batch_runs(command: Command, source: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for output in ("taken", "taken/further"):
        done = command("run", str(source), "--output", output, "--batch-id", "never")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--output = '{output}': can't be written" in done.stderr
    assert faults.knocks() == {}
    assert command("status", "never").returncode == 5


def test_an_output_holds_result_and_graph(command: Command, source: Path, tmp_path: Path) -> None:
    assert command("run", str(source), "--output", "new/folder").returncode == 0
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {"result.json", "graph.ttl"}


def test_automations_want_a_prefect_that_answers(process: Command) -> None:
    done = process("automations", "apply", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 4
    assert "Prefect's API at http://127.0.0.1:9/api failed" in done.stderr
    assert "knowledge-batch up" in done.stderr
    assert "Traceback" not in done.stderr


def a_line(path: Path, number: int, line: bytes) -> None:
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines) + b"\n")


BAD_SOURCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (lambda path: path.rename(path.with_name("elsewhere")), "no such file or folder"),
    "no ontology": (lambda path: (path / "ontology.ttl").unlink(), "has no ontology"),
    "no documents": (lambda path: (path / "documents.jsonl").unlink(), "documents.jsonl"),
    "not JSON": (lambda path: a_line(path / "documents.jsonl", 2, b"{nonsense"), "documents.jsonl line 2"),
    "not an object": (lambda path: a_line(path / "documents.jsonl", 2, b"[1]"), "documents.jsonl line 2"),
    "not UTF-8": (lambda path: a_line(path / "documents.jsonl", 2, b'{"documentId": "\xff"}'), "documents.jsonl line 2"),
    "ontology not UTF-8": (lambda path: (path / "ontology.ttl").write_bytes(b"# \xff"), "ontology.ttl line 1"),
    "missing key": (lambda path: a_line(path / "documents.jsonl", 2, b'{"documentId": "x"}'), "documents.jsonl line 2 text"),
    "unknown key": (
        lambda path: a_line(path / "documents.jsonl", 2, b'{"documentId": "x", "text": "", "txet": ""}'),
        "documents.jsonl line 2 txet",
    ),
    "repeated id": (lambda path: a_line(path / "documents.jsonl", 2, b'{"documentId": "a", "text": ""}'), "'a' is used twice"),
    "empty id": (
        lambda path: a_line(path / "documents.jsonl", 2, b'{"documentId": "", "text": ""}'),
        "documents.jsonl line 2 documentId = ''",
    ),
}


@pytest.mark.parametrize("fault", BAD_SOURCES)
def test_a_bad_source_exits_2_names_what_is_wrong_and_writes_nothing(
    fault: str, command: Command, source: Path, tmp_path: Path
) -> None:
    damage, said = BAD_SOURCES[fault]
    damage(source)
    done = command("run", str(source))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KNOWLEDGE_WORKFLOW_MODE", "enigne"),
        ("KNOWLEDGE_LEASE_SECONDS", "-1"),
        ("KNOWLEDGE_EXTRACTOR", "nowhere:factory"),
        ("KNOWLEDGE_DATABASE_URL", "mysql://here/x"),
    ],
)
def test_a_bad_variable_exits_2_and_is_named(variable: str, value: str, command: Command, source: Path) -> None:
    done = command("run", str(source), **{variable: value})
    assert done.returncode == 2
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_status_events_and_list_tell_of_a_batch(command: Command, source: Path) -> None:
    command("run", str(source), "--batch-id", "told")
    state = json.loads(command("status", "told", "--format", "json").stdout)
    counts = {"totalDocuments": 2, "entityCount": 4, "relationCount": 2}
    served = {
        "failures": [],
        "failedOf": None,
        "rerunBy": [],
        "mode": "legacy",
        "modeReason": "the default",
        "resolutionError": None,
    }
    assert state == {"_tag": "BatchState.Completed", "batchId": "told", "resolutionError": None, **counts, **served}
    assert "BatchState.Completed" in command("status", "told").stdout
    events = [json.loads(line)["_tag"] for line in command("events", "told", "--follow").stdout.splitlines()]
    assert (events[0], events[-1]) == ("BatchEvent.BatchCreated", "BatchEvent.BatchCompleted")
    [batch] = json.loads(command("list", "--format", "json").stdout)
    assert (batch["batchId"], batch["status"], batch["mode"]) == ("told", "completed", "legacy")
    assert "told" in command("list").stdout


def test_status_says_why_entities_were_not_merged(command: Command, source: Path) -> None:
    command("run", str(source), "--batch-id", "apart")
    with Store.from_settings().database.write() as connection:
        connection.execute(update(BatchRun).values(resolution_error="MemoryError: no room"))
    lines = [line.split() for line in command("status", "apart").stdout.splitlines()]
    assert ["not", "merged", "MemoryError:", "no", "room"] in lines


@pytest.mark.parametrize(
    "ask", [["status"], ["events"], ["cancel"], ["resume"], ["export", "--to", "graph.ttl"]], ids=lambda ask: ask[0]
)
def test_an_unknown_batch_exits_5(ask: list[str], command: Command) -> None:
    done = command(ask[0], "nobody", *ask[1:])
    assert done.returncode == 5
    assert "No batch nobody" in done.stderr


def test_a_finished_batch_is_not_run_again_and_cannot_be_cancelled(command: Command, source: Path) -> None:
    first = command("run", str(source), "--batch-id", "once", "--format", "json")
    assert command("run", str(source), "--batch-id", "once", "--format", "json").stdout == first.stdout
    assert faults.knocks() == {"a": 2, "b": 1}
    assert command("cancel", "once").returncode == 2


def test_a_running_batch_exits_3_and_can_be_cancelled_by_another_process(command: Command, tmp_path: Path) -> None:
    slow = folder(
        tmp_path / "slow", [faults.document("s0"), *(faults.document(f"s{number}", held=True) for number in range(1, 9))]
    )
    paths = os.pathsep.join([str(Path(faults.__file__).parent), *sys.path])
    arguments = [sys.executable, "-m", "flows.command.cli", "run", str(slow), "--batch-id", "slow", "--concurrency", "2"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    ) as running:
        follow = iter(flows.subscribe("slow", follow=True)) if wait_for_batch("slow") else iter(())
        assert any(type(event).__name__ == "DocumentCompleted" for event in follow)
        assert command("run", str(slow), "--batch-id", "slow", "--concurrency", "2").returncode == 3
        assert json.loads(command("cancel", "slow").stdout) == {"batchId": "slow", "cancelled": True}
        faults.open_door()
        assert running.wait(timeout=processes.PATIENCE) == 6
    assert type(flows.get_status("slow")).__name__ == "Cancelled"
    assert max(faults.knocks().values()) == 1
    assert sum(faults.knocks().values()) < 9


def wait_for_batch(batch_id: str) -> bool:
    from compat.errors import BatchNotFoundError

    while True:
        try:
            flows.get_status(batch_id)
        except BatchNotFoundError:
            continue
        return True


def test_mode_set_is_heard_by_the_next_process(command: Command) -> None:
    assert command("mode", "set", "engine").returncode == 0
    assert command("mode", "show").stdout == "engine (set by knowledge-batch mode set)\n"
    assert command("mode", "show", KNOWLEDGE_WORKFLOW_MODE="legacy").stdout == "legacy (set by KNOWLEDGE_WORKFLOW_MODE)\n"
    assert command("mode", "set", "enigne").returncode == 2


def test_a_demotion_is_heard_before_every_other_voice_until_it_is_ended(command: Command, source: Path) -> None:
    command("mode", "set", "engine")
    demoted = command("mode", "demote", "divergence in R2")
    assert (demoted.returncode, demoted.stdout) == (0, "legacy (demoted: divergence in R2)\n")
    ran = command("run", str(source), "--mode", "engine", "--batch-id", "moved", KNOWLEDGE_WORKFLOW_MODE="engine")
    assert ran.returncode == 0
    moved = Store.from_settings().batch("moved")
    assert (moved.mode, moved.mode_reason) == ("legacy", "demoted: divergence in R2")
    assert command("mode", "demote", " ").returncode == 2
    restored = command("mode", "restore", "--reason", "a test", "--override")
    assert restored.stdout == "engine (set by knowledge-batch mode set)\n"


def test_a_postgresql_without_tables_exits_4_until_it_is_upgraded(
    command: Command, source: Path, postgres_database: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", postgres_database)
    done = command("run", str(source))
    assert done.returncode == 4
    assert "run: knowledge-batch db upgrade" in done.stderr
    done = command("db", "upgrade")
    assert (done.returncode, done.stderr.count("up to date")) == (0, 2)
    assert command("run", str(source), "--batch-id", "there").returncode == 0
    # What was extracted is read in blocks, for which a cursor in the database would want a transaction.
    assert command("export", "there", "--to", "graph.ttl").returncode == 0


def test_a_legacy_run_imports_no_prefect(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    program = (
        "import json, sys, flows\n"
        "flows.run_batch(json.load(sys.stdin))\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'prefect'])\n"
    )
    paths = os.pathsep.join([str(Path(faults.__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(request_of([faults.document("a")])),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout == "[]\n"
