"""`knowledge-batch up` as its users meet it: ready when it says so, refusals before anything starts, nothing left behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pages
import processes
import psutil
import pytest
import stacks

import faults
import flows

# Slow, and run by .ci/run all the same: a stack takes half a minute to be there. One for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[stacks.Stack]:
    with stacks.up(folder) as stack:
        yield stack


@pytest.fixture
def store_of_stack(stack: stacks.Stack, environment: pytest.MonkeyPatch) -> None:
    """This process looks into the stack's store."""
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{stack.home / 'knowledge.db'}")


def test_its_page_answers_and_asks_the_port_it_was_given(stack: stacks.Stack) -> None:
    assert stack.said[-1].startswith(f"ready: {stack.page}/deployments")
    assert stack.ask("/health") is True
    settings = httpx.get(f"{stack.page}/ui-settings", timeout=60).json()
    assert urljoin(stack.page, settings["api_url"]) == f"{stack.page}/api"


def test_prefects_state_lies_under_our_home(stack: stacks.Stack) -> None:
    assert (stack.home / "prefect" / "prefect.db").exists()


WRONG: dict[str, tuple[str, object, str]] = {
    "a slip in the mode": ("mode", "enigne", "is not one of"),
    "an unknown policy": ("failure_policy", "give-up", "is not one of"),
    "too much at once": ("concurrency", 21, "greater than the maximum of 20"),
    "fewer than no retries": ("max_retries", -1, "less than the minimum of 0"),
    "more than a thousand retries": ("max_retries", 1001, "greater than the maximum of 1000"),
    "neither yes nor no": ("enable_entity_resolution", "perhaps", "is not of type 'boolean'"),
    "a number for a source": ("source", 7, "is not of type 'string'"),
    "no source": ("source", "", "should be non-empty"),
    "a source with a password": ("source", "postgresql://me:secret@here/x", "into a variable of the worker: env:NAME"),
    "an ontology with a password": ("ontology", "https://me:secret@here/x.ttl", "into a variable of the worker: env:NAME"),
    "a long batch id": ("batch_id", "x" * 201, "is too long"),
    "a batch id of two lines": ("batch_id", "x\ny", "a text with control characters"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_form_refuses_a_wrong_value_and_says_which_and_why(stack: stacks.Stack, fault: str) -> None:
    field, value, said = WRONG[fault]
    deployment = stack.deployment("run-batch/on-demand")
    answer = stack.answer(f"/deployments/{deployment}/create_flow_run", {"parameters": {field: value}})
    assert answer.status_code in (409, 422)
    assert f"'{field}'" in answer.json()["detail"]
    assert said in answer.json()["detail"]
    # What was refused is kept nowhere.
    kept = stack.ask("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
    assert value not in [run["parameters"][field] for run in kept]


def test_the_form_takes_addresses_without_a_password(stack: stacks.Stack, folder: Path) -> None:
    documents = '{"documentId": "me:you@here", "text": "https://me:secret@here"}'
    ontology = folder / "taken.ttl"
    ontology.write_text("# none", encoding="utf-8")
    stack.wait_for(stack.start("run-batch/on-demand", source=documents, ontology=f"file://{ontology}", mode="legacy"), "Failed")


def test_the_form_explains_every_field_in_its_order(stack: stacks.Stack) -> None:
    schema = stack.ask("/deployments/name/run-batch/on-demand")["parameter_openapi_schema"]["properties"]
    order = sorted(schema, key=lambda name: int(schema[name]["position"]))
    assert order[:3] == ["source", "ontology", "mode"]
    assert all(field["description"] and "default" in field for field in schema.values())
    assert (schema["concurrency"]["minimum"], schema["concurrency"]["maximum"]) == (1, 20)


def test_a_run_in_each_mode_bears_its_batch_and_shows_what_came_of_it(
    stack: stacks.Stack, folder: Path, store_of_stack: None
) -> None:
    documents = [faults.document("good"), faults.document("bad", fail=faults.ALWAYS, how="ontology")]
    source = stacks.source(folder / "both", documents)
    runs = {
        mode: stack.start("run-batch/on-demand", source=source, mode=mode, batch_id=f"a batch in {mode}")
        for mode in ("legacy", "engine")
    }
    for mode, run_id in runs.items():
        run = stack.wait_for(run_id)
        assert run["name"] == f"a batch in {mode} ({mode})"
        shown = stack.artifacts(run_id)
        assert f"## Batch a batch in {mode}: completed" in shown["batch-summary"]
        assert f"| Mode | {mode}, asked for by the caller |" in shown["batch-summary"]
        assert [row["document"] for row in json.loads(shown["batch-documents"])] == ["bad", "good"]
        assert flows.get_status(f"a batch in {mode}").model_dump()["_tag"] == "BatchState.Completed"


def test_the_forms_mode_goes_through_the_switch_like_every_other(stack: stacks.Stack, folder: Path, store_of_stack: None) -> None:
    source = stacks.source(folder / "demoted", [faults.document("a")])
    flows.demote("a test of the way back")
    try:
        run_id = stack.start("run-batch/on-demand", source=source, mode="engine", batch_id="demoted")
        run = stack.wait_for(run_id)
    finally:
        flows.demote(None)
    assert run["name"] == "demoted (legacy)"
    assert "| Mode | legacy, demoted: a test of the way back |" in stack.artifacts(run_id)["batch-summary"]


def test_the_deployment_of_the_production_guide_runs(stack: stacks.Stack) -> None:
    # What the sample's documents are to the stack's extractor is not JSON, so the run fails; it is run all the same.
    command = pages.example("deployment").strip().removeprefix("prefect ").split()
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        capture_output=True,
        text=True,
        env=processes.environment(PREFECT_API_URL=f"{stack.page}/api"),
    )
    assert "Creating flow run for deployment 'run-batch/on-demand'" in done.stdout
    assert "Flow run finished in state" in done.stdout


def test_a_runs_log_bears_batch_and_document_ids(stack: stacks.Stack, folder: Path) -> None:
    source = stacks.source(folder / "logged", [faults.document("only one", fail=faults.ALWAYS, how="ontology")])
    run_id = stack.start("run-batch/on-demand", source=source, mode="legacy", batch_id="logged")
    stack.wait_for(run_id, "Failed")
    said = "batch logged: document only one: OntologyParseError"
    body = {"logs": {"flow_run_id": {"any_": [run_id]}}}
    processes.wait_until(lambda: any(said in entry["message"] for entry in stack.ask("/logs/filter", body)), 60)


def test_prefect_hears_of_a_batch_that_failed(stack: stacks.Stack, folder: Path) -> None:
    source = stacks.source(folder / "failed", [faults.document("bad", fail=faults.ALWAYS, how="ontology")])
    stack.wait_for(stack.start("run-batch/on-demand", source=source, mode="engine", batch_id="heard"), "Failed")

    def heard() -> list[str]:
        mine = "knowledge.batch.heard"
        return [event["event"] for event in stack.events("knowledge.batch.") if event["resource"]["prefect.resource.id"] == mine]

    processes.wait_until(lambda: len(heard()) == 2, 60)
    assert heard() == ["knowledge.batch.created", "knowledge.batch.failed"]
    processes.wait_until(lambda: bool(stack.events("prefect.automation.triggered")), 60)


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            stacks.command("up", "--port", str(port)),
            capture_output=True,
            text=True,
            env=processes.environment(KNOWLEDGE_HOME=str(tmp_path / "home")),
        )
    assert done.returncode == 2
    assert f"--port = {port}" in done.stderr
    assert not (tmp_path / "home").exists()


def test_ctrl_c_leaves_no_process_and_the_batch_in_work_can_go_on(
    stack: stacks.Stack, folder: Path, store_of_stack: None
) -> None:
    """Ends the module's stack, so it stands last."""
    source = stacks.source(folder / "long", [faults.document(f"d{number}", seconds=0.3) for number in range(60)])
    before = stacks.knocks(folder)
    stack.start("run-batch/on-demand", source=source, mode="engine", batch_id="interrupted")
    processes.wait_until(lambda: stacks.knocks(folder) >= before + 3, 120)
    assert stack.end(signal.SIGINT) == 0
    assert len(stack.family) >= 3
    assert stack.survivors() == []
    assert type(flows.get_status("interrupted")).__name__ == "Failed"
    assert flows.resume_batch("interrupted", "legacy").success_count == 60


def test_sigterm_leaves_no_process(tmp_path: Path) -> None:
    with stacks.up(tmp_path) as stack:
        assert stack.end(signal.SIGTERM) == 0
        assert stack.survivors() == []


@pytest.mark.parametrize("part", ["server", "worker"])
def test_a_part_that_dies_ends_all_and_its_log_is_named(tmp_path: Path, part: str) -> None:
    with stacks.up(tmp_path) as stack:
        stack.family |= set(psutil.Process(stack.process.pid).children(recursive=True))
        [victim] = [process for process in stack.family if part in process.cmdline()]
        victim.kill()
        assert stack.process.wait(timeout=90) == 4
        assert stack.process.stderr is not None
        said = stack.process.stderr.read()
        assert f"the {part} ended by itself" in said
        assert str(stack.home / "logs" / f"{part}.log") in said
        assert stack.survivors() == []


def test_ctrl_c_while_a_failed_stack_ends_neither_cuts_that_short_nor_hides_what_failed(tmp_path: Path) -> None:
    with stacks.up(tmp_path) as stack:
        source = stacks.source(tmp_path / "long", [faults.document(f"d{number}", seconds=6) for number in range(60)])
        stack.start("run-batch/on-demand", source=source, mode="legacy")
        processes.wait_until(lambda: stacks.knocks(tmp_path) >= 3, 120)
        stack.family |= set(psutil.Process(stack.process.pid).children(recursive=True))
        for victim in [process for process in stack.family if "server" in process.cmdline()]:
            victim.kill()
        # Noticed by then; and the documents in work, which are waited for, take longer.
        time.sleep(3)
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(timeout=90) == 4
        assert stack.process.stderr is not None
        assert "the server ended by itself" in stack.process.stderr.read()
        assert stack.survivors() == []


def test_ctrl_c_before_it_is_ready_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        stacks.command("up", "--port", str(stacks.free_port())),
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=processes.environment(KNOWLEDGE_HOME=str(tmp_path / "home")),
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("starting")
    ours = psutil.Process(process.pid)
    processes.wait_until(lambda: bool(ours.children()))
    family = ours.children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
