"""Prefect refuses, is silent, dies, or its flow crashes: the same call comes to the right result, and the rows say how."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
import pytest
from sqlalchemy import select

import brokenprefect
import faults
import flows
from compat.contracts import BatchResult
from compat.errors import BatchInfrastructureError
from compat.recording.recorder import Outcome, Recorder, Started
from compat.store import Store
from compat.store.schema import WorkflowExecution
from flows.engine import batch_flow

# Tells its result, and how long the call took after Prefect was imported.
TIMED_RUN = """
import json, logging, sys, time
import flows, flows.engine.batch_flow
logging.basicConfig(level="ERROR", format="%(name)s %(message)s")
began = time.monotonic()
result = flows.run_batch(json.load(sys.stdin), "engine")
print(json.dumps([time.monotonic() - began, result.model_dump(mode="json")]))
"""


def row_input(batch_id: str) -> dict[str, Any]:
    store = Store.from_settings()
    with store.database.read() as connection:
        query = select(WorkflowExecution.input).where(WorkflowExecution.input["batchId"].as_string() == batch_id)
        found: dict[str, Any] = connection.execute(query).scalar_one()
    return found


def timed_run(request: dict[str, Any], api_url: str) -> tuple[float, BatchResult, str]:
    child = processes.start(
        TIMED_RUN, request=json.dumps(request), PREFECT_API_URL=api_url, KNOWLEDGE_PREFECT_TIMEOUT_SECONDS="3"
    )
    said, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == 0, errors
    seconds, result = json.loads(said)
    return seconds, BatchResult.model_validate(result), errors


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("fault", ["refused", "silent"])
def test_a_batch_goes_on_in_legacy_where_prefect_does_not_answer(fault: str, request_of: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if fault == "silent":
            listener.listen(50)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        request = request_of([faults.document("a", fail=1), faults.document("b")], batch_id=fault)
        seconds, result, errors = timed_run(request, url)
    assert seconds < 30
    assert result.success_count == 2
    told = row_input(fault)
    assert (told["executionMode"], told["rolledBackFrom"]) == ("legacy", "engine")
    assert told["rollbackReason"].startswith(f"PrefectUnavailableError: Prefect's API at {url}")
    assert f"batch {fault}: rolled back from engine to legacy: PrefectUnavailableError: Prefect's API at {url}" in errors


# Tells when the call returned.
STAMPED_RUN = """
import json, sys, time
import flows
flows.run_batch(json.load(sys.stdin), "engine")
print(time.time(), flush=True)
"""


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("moment", ["from the start", "in the middle"])
def test_a_silent_prefect_holds_neither_the_caller_nor_the_process_for_long(moment: str, request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL

    documents = [faults.document("a"), faults.document("b", held=True)]
    with brokenprefect.relaying(PREFECT_API_URL.value() or "") as (url, silent):
        if moment == "from the start":
            silent.set()
        child = processes.start(
            STAMPED_RUN,
            request=json.dumps(request_of(documents, moment)),
            PREFECT_API_URL=url,
            KNOWLEDGE_PREFECT_TIMEOUT_SECONDS="3",
        )
        processes.wait_until(lambda: faults.knocks()["b"] == 1 or child.poll() is not None)
        silent.set()
        faults.open_door()
        said, errors = child.communicate(timeout=processes.PATIENCE)
        ended = time.time()
    assert child.returncode == 0, errors
    store = Store.from_settings()
    assert store.result(moment).success_count == 2
    assert faults.knocks() == {"a": 1, "b": 1}
    completed_at = store.batch(moment).completed_at
    assert completed_at is not None
    # 5 and 10 s on a machine that has nothing else to do; it was 20, and up to 117.
    assert float(said) - completed_at.timestamp() < 2 * (batch_flow.END_SECONDS + 1)
    assert ended - completed_at.timestamp() < 2 * (batch_flow.END_SECONDS + 1 + batch_flow.EXIT_SECONDS)


@pytest.mark.usefixtures("environment")
def test_without_rollback_the_batch_fails_and_can_be_resumed(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.setenv("KNOWLEDGE_WORKFLOW_ENABLE_LEGACY_ROLLBACK", "false")
    environment.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    program = (
        "import json, sys, flows\n"
        "from compat.errors import BatchInfrastructureError\n"
        "try:\n    flows.run_batch(json.load(sys.stdin), 'engine')\n"
        "except BatchInfrastructureError as error:\n    print(error.operation)\n"
    )
    child = processes.start(program, request=json.dumps(request_of([faults.document("a")], batch_id="no way back")))
    said, errors = child.communicate(timeout=processes.PATIENCE)
    assert said == "batch_run_dispatch\n", errors
    assert type(flows.get_status("no way back")).__name__ == "Failed"
    assert flows.resume_batch("no way back", "legacy").success_count == 1


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_server_that_goes_away_in_the_middle_costs_the_batch_nothing(
    number: signal.Signals, request_of: Any, tmp_path: Path
) -> None:
    request = request_of([faults.document(f"d{each}", seconds=0.2) for each in range(30)], batch_id="alone")
    with processes.prefect_server(tmp_path / "server") as (url, send):
        child = processes.start(
            TIMED_RUN, request=json.dumps(request), PREFECT_API_URL=url, KNOWLEDGE_PREFECT_TIMEOUT_SECONDS="3"
        )
        processes.wait_until(lambda: sum(faults.knocks().values()) >= 5)
        send(number)
        began = time.monotonic()
        said, errors = child.communicate(timeout=processes.PATIENCE)
        # Its end included: nothing is left behind that keeps the process waiting.
        assert time.monotonic() - began < 90
    assert child.returncode == 0, errors
    result = BatchResult.model_validate(json.loads(said)[1])
    assert (result.total_documents, result.success_count) == (30, 30)
    assert result == Store.from_settings().result("alone")
    assert type(flows.get_status("alone")).__name__ == "Completed"


class Untouched(set[str]):
    """Fails whoever looks through it."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("Prefect looks through an extractor that other threads change")


@dataclass
class DataclassExtractor(faults.ScriptedExtractor):
    """An extractor in the form of those collections that Prefect walks through where they are parameters."""

    seen: set[str] = field(default_factory=Untouched)


@pytest.mark.usefixtures("prefect_server")
def test_prefect_leaves_an_extractor_alone_that_is_a_dataclass(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:DataclassExtractor")
    assert flows.run_batch(request_of([faults.document("a")], batch_id="untouched"), "engine").success_count == 1
    assert row_input("untouched")["executionMode"] == "engine"


@pytest.mark.usefixtures("prefect_server")
def test_a_crashed_task_run_rolls_back_and_only_what_is_missing_is_done(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    from prefect.context import TaskRunContext

    work = Recorder.work

    def crash_in_prefect(recorder: Recorder, started: Started | Outcome, *rest: Any) -> Outcome:
        # In a way that no except clause for errors sees. What an extractor raises is its document's failure, so not there.
        if TaskRunContext.get() is not None and isinstance(started, Started) and started.document_id == "b":
            raise SystemExit("the task runner is broken")
        return work(recorder, started, *rest)

    environment.setattr(Recorder, "work", crash_in_prefect)
    documents = [faults.document(name) for name in "abc"]
    result = flows.run_batch(request_of(documents, batch_id="crashed", concurrency=1), "engine")
    assert result.success_count == 3
    assert row_input("crashed")["rolledBackFrom"] == "engine"
    assert faults.knocks() == {"a": 1, "b": 1, "c": 1}
    assert [type(event).__name__ for event in flows.subscribe("crashed")].count("DocumentStarted") == 3


def test_a_database_that_goes_away_is_an_infrastructure_error(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/nothing")
    with pytest.raises(BatchInfrastructureError) as caught:
        flows.run_batch(request_of([faults.document("a")]))
    assert caught.value.operation == "batch_create_execution"
