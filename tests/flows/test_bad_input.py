"""Whatever is asked for wrongly is refused by a named error: field, value, what to do. No traceback, and no half a batch.

A short form by default, the same each time; the long one makes 2,000 inputs: pytest -m slow tests/flows/test_bad_input.py
"""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import badinput
import processes
import pytest
import stacks
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as bounds
from hypothesis import strategies as st
from sqlalchemy import func, select

import faults
import flows
from compat.errors import Exit, InvalidInputError, KnowledgeBatchError
from compat.store import Store
from compat.store.schema import BatchDocument, BatchEventRow, BatchExecution, BatchRun, OntologyContent, WorkflowExecution
from flows.sources import ontologies
from flows.sources import readers as sources

Command = Callable[..., "subprocess.CompletedProcess[str]"]
# What a text of others must not put on a terminal; a line's end is the line's own.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
SEED = 20261126
TABLES = (BatchRun, BatchExecution, BatchDocument, BatchEventRow, OntologyContent, WorkflowExecution)


def both(short: int, long: int) -> Any:
    """How many inputs are made: by default, and in the long form."""
    return pytest.mark.parametrize(
        "count", [pytest.param(short, id="short"), pytest.param(long, id="long", marks=pytest.mark.slow)]
    )


def try_each(strategy: st.SearchStrategy[Any], count: int, check: Callable[[Any], None]) -> None:
    @seed(SEED)
    @bounds(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def each(made: Any) -> None:
        check(made)

    each()


def rows() -> dict[str, int]:
    with Store.from_settings().database.read() as connection:
        return {table.__tablename__: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES}


def assert_no_half_batch() -> None:
    """Every batch has all of its rows and has ended."""
    store = Store.from_settings()
    with store.database.read() as connection:
        ids = list(connection.execute(select(BatchRun.batch_id)).scalars())
    assert len(ids) == rows()["knowledge_batch_execution"]
    assert [batch_id for batch_id in ids if not store.batch(batch_id).ended] == []


def assert_named(error: KnowledgeBatchError, without: str = "Traceback") -> None:
    text = str(error)
    assert text
    assert without not in text
    assert "Traceback" not in text
    if isinstance(error, InvalidInputError):
        assert error.problems
        for problem in error.problems:
            assert problem.field
            assert problem.advice


# --- Python -----------------------------------------------------------------------------------------------------------


@both(40, 600)
def test_a_request_that_is_wrong_leaves_no_row(count: int, environment: pytest.MonkeyPatch) -> None:
    modes = st.one_of(st.sampled_from([None, "legacy"]), badinput.ODD_VALUE.filter(lambda mode: mode not in ("engine", "shadow")))
    number = iter(range(10_000))

    def check(made: tuple[Any, Any]) -> None:
        request, mode = made
        if isinstance(request, dict) and request.get("batchId") == "bad-input":
            request["batchId"] = f"bad-input-{next(number)}"
        before = rows()
        try:
            flows.run_batch(request, mode)
        except KnowledgeBatchError as error:
            assert_named(error)
            assert rows() == before
        assert_no_half_batch()

    try_each(st.tuples(badinput.requests(), modes), count, check)


@both(40, 400)
def test_a_call_with_wrong_arguments_is_refused_by_name(
    count: int, environment: pytest.MonkeyPatch, request_of: Callable[..., dict[str, Any]]
) -> None:
    flows.run_batch(request_of([faults.document("a")], "there"), "legacy")

    def check(made: tuple[str, tuple[Any, ...]]) -> None:
        name, arguments = made
        before = rows()
        try:
            given = getattr(flows, name)(*arguments)
            if isinstance(given, Iterator):
                list(given)
        except KnowledgeBatchError as error:
            assert_named(error)
        assert rows() == before
        flows.set_mode(None)
        flows.demote(None)

    try_each(badinput.calls(), count, check)


# --- Sources ----------------------------------------------------------------------------------------------------------


@both(40, 600)
def test_a_damaged_file_is_refused_by_name(count: int, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check(made: tuple[tuple[str, bytes], tuple[str, bytes]]) -> None:
        (ending, table), (syntax, ontology) = made
        file, beside = tmp_path / f"documents{ending}", tmp_path / f"ontology{syntax}"
        file.write_bytes(table)
        beside.write_bytes(ontology)
        try:
            found = sources.load(str(file), str(beside))
            ontologies.check(found, "rules")
            found.request(None, {})
        except KnowledgeBatchError as error:
            assert_named(error)

    try_each(badinput.FILES, count, check)


@both(60, 400)
def test_an_address_that_leads_nowhere_is_refused_by_name(
    count: int, environment: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a")])
    environment.chdir(tmp_path / "source")
    environment.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))

    def check(address: str) -> None:
        for arguments in ((address, f"{source}/ontology.ttl"), (f"{source}/documents.jsonl", address)):
            try:
                sources.load(*arguments)
            except KnowledgeBatchError as error:
                assert_named(error, without="secret")

    try_each(badinput.ADDRESSES, count, check)
    assert capfd.readouterr().err == ""


# --- The command ------------------------------------------------------------------------------------------------------


def assert_said_well(done: "subprocess.CompletedProcess[str]") -> None:
    """The exit code is one of the contract's, and where it isn't 0 a line says why."""
    assert done.returncode in set(Exit)
    assert "Traceback" not in done.stdout + done.stderr
    assert not STEERING.search(done.stdout + done.stderr)
    is_verdict = done.args[0] == "evidence" or done.args[:2] == ("cutover", "check")
    if done.returncode in (Exit.BAD_INPUT, Exit.NOT_FOUND, Exit.INFRASTRUCTURE) and not is_verdict:
        assert re.search(r"^(error|Error|Usage): .", done.stderr, re.MULTILINE), done


@both(30, 500)
def test_a_command_line_that_is_wrong_ends_by_a_line_and_leaves_no_row(
    count: int, environment: pytest.MonkeyPatch, tmp_path: Path, command: Command, request_of: Callable[..., dict[str, Any]]
) -> None:
    stacks.source(tmp_path / "source", [faults.document("a")])
    flows.run_batch(request_of([faults.document("a")], "there"), "legacy")
    codes: Counter[int] = Counter()

    def check(line: list[str]) -> None:
        before = rows()
        done = command(*line)
        codes[done.returncode] += 1
        assert_said_well(done)
        if done.returncode in (Exit.BAD_INPUT, Exit.NOT_FOUND):
            assert rows() == before
        assert_no_half_batch()
        flows.set_mode(None)

    try_each(badinput.command_lines(), count, check)
    # The inputs are neither all refused at the first option nor all fine.
    assert len(codes) > 1


@both(25, 300)
def test_a_setting_that_is_wrong_ends_a_command_by_a_line(
    count: int, environment: pytest.MonkeyPatch, tmp_path: Path, command: Command
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a")])

    def check(made: tuple[dict[str, str], list[str]]) -> None:
        variables, line = made
        before = rows()
        done = command(*line, **variables)
        assert_said_well(done)
        if done.returncode == Exit.BAD_INPUT:
            assert rows() == before
        assert_no_half_batch()

    lines = st.sampled_from([["run", source, "--mode", "legacy"], ["list"], ["mode", "show"], ["status", "x"], ["evidence"]])
    try_each(st.tuples(badinput.settings(), lines), count, check)


TO_WRITE = {
    "run source --output": "",
    "resume there --output": "",
    "export there --to": ".ttl",
    "view there --to": ".html",
    "evidence --to": ".md",
    "parity report --html": ".html",
    "evaluate source --plot": ".svg",
    "train --ontology source/ontology.ttl --rows source/rows.jsonl --output": ".npz",
    "cutover drill --folder": "",
}


@pytest.mark.parametrize(
    ("line", "place"),
    [(line, place) for line, ending in TO_WRITE.items() for place in ("file/x", "folder" if ending else "file")],
)
def test_a_place_that_cannot_be_written_is_refused_by_its_option(
    line: str, place: str, tmp_path: Path, command: Command, request_of: Callable[..., dict[str, Any]]
) -> None:
    ending = TO_WRITE[line]
    stacks.source(tmp_path / "source", [faults.document("a")])
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    flows.run_batch(request_of([faults.document("a")], "there"), "legacy")
    done = command(*line.split(), f"{place}{ending}")
    assert done.returncode == Exit.BAD_INPUT
    assert f"error: {line.rsplit(maxsplit=1)[-1]} = " in done.stderr
    assert "Traceback" not in done.stderr


REAL = (
    [b"status", b"\xff"],
    [b"run", b"\xff"],
    [b"run", b"data:,", b"--ontology", b"x"],
    [b"run", b"reference://x", b"--ontology", b"x"],
    [b"run", b"jupyter://x", b"--ontology", b"x"],
    [b"export", b"\xff", b"--to", b"\xff.ttl"],
    [b"up", b"--port", b"0"],
    [b"up", b"--port", b"99999999999999999999"],
)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", REAL, ids=ascii)
def test_in_a_process_of_its_own_it_is_the_same(arguments: list[bytes], environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "flows.command.cli"]
    done = subprocess.run([*program, *arguments], capture_output=True, cwd=tmp_path, env=processes.environment())
    assert done.returncode in (Exit.BAD_INPUT, Exit.NOT_FOUND)
    assert re.search(rb"^error: .+ ", done.stderr)
    assert b"Traceback" not in done.stderr


# --- The deployment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [pytest.param(200, marks=pytest.mark.slow)])
def test_parameters_that_are_wrong_fail_the_run_by_a_sentence(
    count: int, prefect_server: None, environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.exceptions import ParameterTypeError
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import validate
    from prefect.utilities.schema_tools.validation import ValidationError

    from flows import deployed

    environment.chdir(tmp_path)
    schema = parameter_schema(deployed.run_batch).model_dump_for_openapi()

    def check(given: dict[str, Any]) -> None:
        given = json.loads(json.dumps(given))
        if given.get("mode") in ("engine", "shadow"):
            given["mode"] = "legacy"
        before = rows()
        try:
            # As Prefect's API does before it stores a run.
            validate(given, schema, raise_on_error=True, ignore_required=True)
        except ValidationError:
            return
        try:
            state = deployed.run_batch(**given, return_state=True)
        except (ParameterTypeError, TypeError):
            # Names that it has not.
            return
        assert state.message
        assert "Traceback" not in state.message
        if state.is_failed() and (error := state.result(raise_on_failure=False)) is not None:
            assert not isinstance(error, Exception) or isinstance(error, KnowledgeBatchError | ParameterTypeError), error
            assert rows() == before
        assert_no_half_batch()

    try_each(badinput.parameters(sorted(schema["properties"])), count, check)
