"""Stops from outside: signals, dead leases, cancels in Prefect, and what Prefect says too late."""

import json
import signal
import subprocess
import threading
import time
from typing import Any

import processes
import pytest

import faults
import flows
from compat.contracts import BatchFailed, Failed
from compat.store import Store
from flows.engine.stops import STOPS


def slow(count: int, seconds: float) -> list[dict[str, str]]:
    return [faults.document(f"s{number}", seconds=seconds) for number in range(count)]


def run(mode: str, request: dict[str, Any], **variables: str) -> "subprocess.Popen[str]":
    from prefect.settings import PREFECT_API_URL

    return processes.start(
        processes.RUN, mode, request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "", **variables
    )


def terminal_events(batch_id: str) -> list[str]:
    return [
        type(event).__name__ for event in flows.subscribe(batch_id) if type(event).__name__ in ("BatchFailed", "BatchCompleted")
    ]


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_sigterm_lets_documents_finish_and_leaves_a_batch_to_resume(mode: str, request_of: Any) -> None:
    child = run(mode, request_of(slow(30, 0.3), batch_id="told to stop"))
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 4)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=processes.PATIENCE) == 128 + signal.SIGTERM, child.communicate()
    state = flows.get_status("told to stop")
    assert isinstance(state, Failed)
    assert state.error == "Interrupted by SIGTERM; go on with knowledge-batch resume told to stop"
    assert flows.resume_batch("told to stop").success_count == 30
    # Those in work were let finish, so nothing ran twice.
    assert set(faults.knocks().values()) == {1}
    assert terminal_events("told to stop") == ["BatchCompleted"]


@pytest.mark.usefixtures("environment")
def test_a_document_that_outlasts_the_grace_is_left_without_outcome(request_of: Any) -> None:
    child = run("legacy", request_of([*slow(1, 0.0), faults.document("endless", seconds=300)], batch_id="stuck"))
    processes.wait_until(lambda: "endless" in faults.knocks())
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=processes.PATIENCE) == 128 + signal.SIGTERM
    assert isinstance(flows.get_status("stuck"), Failed)
    result = Store.from_settings().result("stuck")
    assert [item.document_id for item in result.document_results] == ["s0"]


@pytest.mark.usefixtures("environment")
def test_a_dead_batch_is_reported_within_its_lease_and_written_down_once(
    environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "2")
    child = run("legacy", request_of(slow(50, 0.2), batch_id="dead"))
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 2)
    child.kill()
    child.communicate()
    assert processes.wait_until(lambda: isinstance(flows.get_status("dead"), Failed)) < 30
    store = Store.from_settings()
    assert terminal_events("dead") == []
    threads = [threading.Thread(target=store.reconcile, args=("dead",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert terminal_events("dead") == ["BatchFailed"]
    assert store.summaries()[0].status == "failed"


@pytest.mark.usefixtures("environment")
def test_a_live_batch_keeps_its_lease_however_long_a_document_takes(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    lease = 4
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", str(lease))
    child = run("legacy", request_of([faults.document("endless", held=True)], batch_id="long"))
    processes.wait_until(lambda: sum(faults.knocks().values()) == 1)
    until = time.monotonic() + 1.5 * lease
    while time.monotonic() < until:
        assert Store.from_settings().reconcile("long") == "running"
        time.sleep(0.1)
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    assert terminal_events("long") == ["BatchCompleted"]


@pytest.mark.usefixtures("prefect_server", "environment")
def test_a_cancel_in_prefect_stops_the_batch(request_of: Any, environment: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelling

    child = run("engine", request_of(slow(200, 0.3), batch_id="cancelled there"))
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 2)
    with get_client(sync_client=True) as client:
        only = FlowRunFilter.model_validate({"name": {"any_": ["cancelled there (engine)"]}})
        flow_run = max(client.read_flow_runs(flow_run_filter=only), key=lambda each: str(each.created))
        client.set_flow_run_state(flow_run.id, Cancelling())
        assert child.wait(timeout=processes.PATIENCE) == 0, child.communicate()
        ended = client.read_flow_run(flow_run.id).state
    assert ended is not None
    assert ended.is_cancelled()
    assert type(flows.get_status("cancelled there")).__name__ == "Cancelled"
    last = list(flows.subscribe("cancelled there"))[-1]
    assert isinstance(last, BatchFailed)
    assert (last.error, last.failed_documents) == ("Batch cancelled by user", 0)
    assert 2 <= sum(faults.knocks().values()) < 200


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_stop_behind_the_last_document_leaves_the_resolution_to_a_resume(mode: str, request_of: Any) -> None:
    flows.start_batch(request_of([faults.document("a", held=True), faults.document("b", held=True)], "unresolved"), mode)
    processes.wait_until(lambda: sum(faults.knocks().values()) == 2)
    STOPS.ask_all("Interrupted by a test")
    faults.open_door()
    processes.wait_until(lambda: type(flows.get_status("unresolved")).__name__ == "Failed")
    flows.resume_batch("unresolved", mode)
    told = [type(event).__name__ for event in flows.subscribe("unresolved")]
    assert told[-3:] == ["ResolutionStarted", "ResolutionCompleted", "BatchCompleted"]
    assert faults.knocks() == {"a": 1, "b": 1}
