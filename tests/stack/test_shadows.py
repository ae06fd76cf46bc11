"""Shadow runs on a real stack: server, pool, worker and deployments, with legacy serving from this process."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest
import stacks

import faults
import flows
from compat.parity import archive
from compat.store import Store, shadow_requests
from flows.sources import readers as sources

pytestmark = pytest.mark.slow

POLICIES = ("continue-on-failure", "abort-all", "retry-failed")
FOLDERS = (
    "redocred", "text2kg/1_movie", "text2kg/2_music", "text2kg/3_sport", "text2kg/4_book", "text2kg/6_computer",
    "text2kg/7_space", "text2kg/9_nature", "text2kg/10_culture", "sample",
)  # fmt: skip
DOCUMENTS = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shadows")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[stacks.Stack]:
    # The worker sees no extractor that could be run: the tape must do.
    with stacks.up(folder, KNOWLEDGE_EXTRACTOR="faults:none_here") as stack:
        yield stack


@pytest.fixture
def caller(stack: stacks.Stack, folder: Path, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process as a caller of the service whose shadows the stack runs."""
    environment.setenv("KNOWLEDGE_HOME", str(stack.home))
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{stack.home / 'knowledge.db'}")
    environment.setenv("PREFECT_API_URL", f"{stack.page}/api")
    environment.setenv("PYTHONPATH", processes.environment()["PYTHONPATH"])
    return environment


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(stacks.command(*arguments), capture_output=True, text=True, env=dict(os.environ))


def test_30_shadows_of_real_documents_agree_and_the_gate_opens(
    stack: stacks.Stack, caller: pytest.MonkeyPatch, data: Path, request_of: Any, folder: Path
) -> None:
    assert command("cutover", "check", "--min-batches", "30").returncode == 2
    caller.setenv("KNOWLEDGE_EXTRACTOR", "faults:flaky_rules")
    batches = []
    for number, (name, policy) in enumerate(product(FOLDERS, POLICIES)):
        caller.setenv(faults.DOOR, str(folder / f"door-{number}"))
        source = sources.load(str(data / name) if name != "sample" else name)
        request = request_of(list(source)[:DOCUMENTS], f"{name} {policy}", failurePolicy=policy, concurrency=5)
        flows.run_batch(request, "shadow")
        batches.append(f"{name} {policy}")
    database = Store.of_shadows().database
    processes.wait_until(lambda: len(archive.reports(database)) >= len(batches) or bool(refused()), 900, pause=2)
    reports = {report.batch_id: report for report in archive.reports(database)}
    assert {name: reports[name].headline for name in batches if reports[name].verdict != "parity"} == {}
    assert sum(report.documents for report in reports.values()) > 500
    assert any(report.attempts > report.documents for report in reports.values())
    failed = [state for state in map(flows.get_status, batches) if type(state).__name__ == "Failed"]
    print(f"{len(reports)} shadows, {sum(r.documents for r in reports.values())} documents, {len(failed)} batches failed")
    checked = command("cutover", "check", "--min-batches", "30", "--format", "json")
    print(command("cutover", "check", "--min-batches", "30").stdout)
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["verdict"] == "go"
    assert command("cutover", "check", "--min-batches", "31").returncode == 2


def refused() -> list[str]:
    """Batches whose shadow was refused; a shadow that can't come isn't waited for."""
    store = Store.from_settings()
    found = [shadow_requests.find(store.database, batch.batch_id) for batch in flows.list_batches(100)]
    said = [f"{each.batch_id}: {each.summary}" for each in found if each is not None and each.status == "refused"]
    assert said == []
    return said


def test_a_shadow_run_says_what_it_found(stack: stacks.Stack, caller: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document("a"), faults.document("b", fail=faults.ALWAYS, how="ontology")]
    flows.run_batch(request_of(documents, "told", failurePolicy="abort-all"), "shadow")
    [run] = runs_of(stack, "told")
    assert set(run["tags"]) >= {"shadow", "batch:told", "policy:abort-all"}
    done = stack.wait_for(run["id"], "Parity")
    assert done["state"]["type"] == "COMPLETED"
    shown = stack.artifacts(run["id"])
    assert shown["parity"].startswith("# Parity: ")
    assert f"{stack.page}/runs/flow-run/" in shown["parity-batch"]
    assert not [event for event in stack.events("knowledge.batch.") if event["resource"]["prefect.resource.id"].endswith(".told")]


def test_a_difference_is_shown_where_it_is_and_told_as_an_event(
    stack: stacks.Stack, caller: pytest.MonkeyPatch, request_of: Any
) -> None:
    # What the tape holds isn't what legacy wrote: as if the engine had made something else of the same answer.
    flows.run_batch(request_of([faults.document("a"), faults.document("b")], "differing"), "legacy")
    store = Store.from_settings()
    stacks.tape_something_else(store, "differing", "b")
    run_id = stack.start("shadow-batch/shadow", batch_id="differing")
    stack.wait_for(run_id, "Diverged")
    shown = stack.artifacts(run_id)
    assert "documents.outcome of b: succeeded → failed | failure policy and outcomes" in shown["parity"]
    assert any("of b" in row["where"] for row in json.loads(shown["parity-differences"]))
    processes.wait_until(lambda: bool(stack.events("knowledge.parity.diverged")), 60)
    assert command("cutover", "check", "--min-batches", "1").returncode == 1
    said = command("parity", "show", "differing", "--format", "json")
    assert json.loads(said.stdout)["verdict"] == "diverged"


def test_a_shadow_that_is_killed_leaves_legacys_batch_alone_and_keeps_the_gate_shut(
    stack: stacks.Stack, caller: pytest.MonkeyPatch, request_of: Any
) -> None:
    told = flows.run_batch(request_of([faults.document(f"d{number}") for number in range(50)], "killed there"), "shadow")
    [run] = runs_of(stack, "killed there")

    def is_killed() -> bool:
        for process in processes_of(stack, run["id"]):
            process.kill()
        return stack.state(run["id"]) == "Crashed"

    processes.wait_until(is_killed, 120)
    assert flows.get_status("killed there").model_dump()["_tag"] == "BatchState.Completed"
    assert flows.run_batch(request_of([faults.document(f"d{number}") for number in range(50)], "killed there")) == told
    checked = command("cutover", "check", "--min-batches", "1")
    assert checked.returncode in (1, 2)
    assert "batch_id='killed there'" in checked.stderr
    assert stack.wait_for(stack.start("shadow-batch/shadow", batch_id="killed there"), "Parity")
    assert "killed there" not in command("cutover", "check", "--min-batches", "1").stderr


def processes_of(stack: stacks.Stack, flow_run_id: str) -> list[psutil.Process]:
    """The processes of the stack's worker that work on a flow run."""
    found = []
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == flow_run_id:
                found.append(process)
    return found


def test_reconcile_submits_the_shadow_of_a_caller_that_died(
    stack: stacks.Stack, caller: pytest.MonkeyPatch, request_of: Any
) -> None:
    store = Store.from_settings()
    flows.run_batch(request_of([faults.document("a")], "orphan"), "shadow")
    processes.wait_until(lambda: standing("orphan").status == "submitted", 60)
    # As it stands where the caller died between its batch's end and the submission.
    shadow_requests.record(store.database, "orphan", 0, "requested")
    stack.wait_for(stack.start("reconcile/upkeep"), "Completed")
    assert standing("orphan").status == "submitted"


def standing(batch_id: str) -> shadow_requests.ShadowRequest:
    found = shadow_requests.find(Store.from_settings().database, batch_id)
    assert found is not None
    return found


def runs_of(stack: stacks.Stack, batch_id: str) -> list[dict[str, Any]]:
    processes.wait_until(lambda: standing(batch_id).status != "requested", 60)
    assert standing(batch_id).status == "submitted", standing(batch_id).summary
    run: dict[str, Any] = stack.ask(f"/flow_runs/{standing(batch_id).flow_run_id}")
    return [run]
