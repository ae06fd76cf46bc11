"""kill -9 at every named place: resumed, the batch is what an undisturbed one is, whatever had been promised by then."""

import ast
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import processes
import pytest
from sqlalchemy import text

import compat
import faults
import flows
from compat.errors import BatchNotFoundError
from compat.fault_points import FaultPoint
from compat.store import Store
from flows.operations.audit import audit_ledger

POINTS: tuple[str, ...] = get_args(FaultPoint)
# Reached by every document; the process dies at the second one that does.
OF_DOCUMENTS = ("attempt-started", "extracted", "outcome-written", "outcome-committed")
# Reached when somebody takes up a batch whose first process was killed.
OF_RESUMES = ("taking-written",)

# Runs or resumes a batch, and ends by kill -9 when it reaches a fault point for the given time.
PROGRAM = """
import json, os, signal, sys
import flows
from compat import fault_points
verb, mode, point, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
def action(name):
    global left
    left -= name == point
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
fault_points.aim(action)
request = json.load(sys.stdin)
flows.run_batch(request, mode) if verb == "run" else flows.resume_batch(request["batchId"], mode)
"""

DOCUMENTS = ["a", "flaky", "never", "b", "c"]


def built(request_of: Any, policy: str) -> dict[str, Any]:
    scripts: dict[str, dict[str, Any]] = {"flaky": {"fail": 1}, "never": {"fail": faults.ALWAYS, "how": "ontology"}}
    documents = [faults.document(name, **scripts.get(name, {})) for name in DOCUMENTS]
    asked: dict[str, Any] = request_of(documents, batch_id="killed", concurrency=2, failurePolicy=policy)
    return asked


def kill_at(verb: str, mode: str, point: str, asked: dict[str, Any], **variables: str) -> None:
    times = 2 if point in OF_DOCUMENTS else 1
    child = processes.start(PROGRAM, verb, mode, point, str(times), request=json.dumps(asked), **variables)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, errors


def expire(store: Store) -> None:
    """What a minute without a heartbeat does."""
    with store.database.write() as connection:
        connection.execute(text("UPDATE knowledge_batch_run SET heartbeat_at = '2000-01-01 00:00:00'"))


def go_on(store: Store, asked: dict[str, Any], mode: str) -> None:
    try:
        if not store.has_ended("killed"):
            expire(store)
            flows.resume_batch("killed", mode)
    except BatchNotFoundError:
        # Nothing was promised, so nothing is there.
        flows.run_batch(asked, mode)


def check(store: Store, had: set[str], before: Counter[str], policy: str) -> None:
    result = store.result("killed")
    assert [item.document_id for item in result.document_results] == DOCUMENTS
    assert (result.success_count, result.failure_count, result.entity_count, result.relation_count) == (4, 1, 8, 4)
    batch = store.batch("killed")
    assert (batch.status, batch.completed_documents, batch.failed_documents) == ("completed", 4, 1)
    assert (batch.entity_count, batch.relation_count) == (8, 4)
    # What had its result is not done again; no attempt beyond a budget, none twice.
    assert not had & set(faults.knocks() - before)
    assert audit_ledger(store, "killed")[1] == []
    told = [event.model_dump(mode="json") for event in flows.subscribe("killed")]
    names = [event["_tag"].removeprefix("BatchEvent.") for event in told]
    assert (names[0], names[-1]) == ("BatchCreated", "BatchCompleted")
    assert [names.count(name) for name in ("BatchCreated", "ResolutionStarted", "ResolutionCompleted", "BatchCompleted")] == [
        1
    ] * 4
    for document in DOCUMENTS:
        steps = [name for name, event in zip(names, told, strict=True) if event.get("documentId") == document]
        ended = "DocumentFailed" if document == "never" else "DocumentCompleted"
        assert (steps[0], steps[-1], steps.count(ended)) == ("DocumentStarted", ended, 1)
        if policy == "continue-on-failure":
            assert steps == ["DocumentStarted", ended]
    with store.database.read() as connection:
        for table in ("knowledge_workflow_execution", "knowledge_workflow_activity"):
            query = text(f"SELECT count(*) FROM {table} WHERE status IN ('running', 'pending')")
            assert connection.execute(query).scalar() == 0


@pytest.mark.parametrize("policy", ["continue-on-failure", pytest.param("retry-failed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["legacy", pytest.param("engine", marks=pytest.mark.slow)])
@pytest.mark.parametrize("point", POINTS)
def test_a_batch_killed_at_a_fault_point_goes_on_exactly(
    point: str, environment: pytest.MonkeyPatch, mode: str, policy: str, request_of: Any, request: pytest.FixtureRequest
) -> None:
    api = {}
    if mode == "engine":
        request.getfixturevalue("prefect_server")
        from prefect.settings import PREFECT_API_URL

        api = {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    asked = built(request_of, policy)
    store = Store.from_settings()
    if point in OF_RESUMES:
        kill_at("run", mode, "outcome-committed", asked, **api)
        expire(store)
        kill_at("resume", mode, point, asked, **api)
    else:
        kill_at("run", mode, point, asked, **api)
    had = succeeded(store)
    before = faults.knocks()
    go_on(store, asked, mode)
    check(store, had, before, policy)


def succeeded(store: Store) -> set[str]:
    try:
        return {item.document_id for item in store.result("killed").document_results if item.result.ok}
    except BatchNotFoundError:
        return set()


def test_every_fault_point_is_one_place_in_the_code() -> None:
    used: Counter[str] = Counter()
    for module in Path(compat.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fault_point":
                assert isinstance(node.args[0], ast.Constant)
                used[str(node.args[0].value)] += 1
    assert used == dict.fromkeys(POINTS, 1)
