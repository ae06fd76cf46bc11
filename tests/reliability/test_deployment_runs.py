"""Batches that a Prefect worker runs: suspended and resumed, killed, cancelled."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import processes
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_runs import resume_flow_run, suspend_flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

import faults
import flows
from compat.store import Store
from flows import deployed
from flows.operations import reconcile

# One server for all of them.
pytestmark = pytest.mark.xdist_group("standing server")

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A standing server with a work pool; what the harness has can't feed a worker of another process for long."""
    with processes.prefect_server(tmp_path_factory.mktemp("standing")) as (url, _):
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name="processes", type="process"))
        yield url


@pytest.fixture
def client(server: str, on_sqlite: None, tmp_path: Path) -> Iterator[SyncPrefectClient]:
    """A client of the server, with the deployment there and a worker at work in this test's environment."""
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        source = deployed.run_batch.from_source(source=str(REPOSITORY), entrypoint="flows/deployed.py:run_batch")
        source.deploy(name=tmp_path.name, work_pool_name="processes", print_next_steps=False, ignore_warnings=True, build=False)  # type: ignore[union-attr]
        with processes.prefect_worker(server, tmp_path / "worker", "processes"):
            yield client


@pytest.fixture
def on_sqlite(environment: pytest.MonkeyPatch) -> None:
    """The environment, where a worker's child finds this test's store."""


def begin(client: SyncPrefectClient, tmp_path: Path, batch_id: str, mode: str, count: int = 40) -> UUID:
    """Starts a batch of slow documents through its deployment, and returns the flow run once documents are in work."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ontology.ttl").write_text("# none", encoding="utf-8")
    rows = [faults.document(f"d{number}", seconds=0.3) for number in range(count)]
    lines = [json.dumps({"documentId": row["documentId"], "text": row["text"]}) for row in rows]
    (folder / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    deployment = client.read_deployment_by_name(f"run-batch/{tmp_path.name}")
    parameters = {"source": str(folder), "mode": mode, "batch_id": batch_id}
    flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 3, seconds=90)
    return flow_run.id


def state_of(client: SyncPrefectClient, flow_run_id: UUID) -> str:
    state = client.read_flow_run(flow_run_id).state
    assert state is not None
    return state.name or ""


def kind_of(batch_id: str) -> str:
    return type(flows.get_status(batch_id)).__name__


@pytest.mark.slow
def test_a_suspended_run_is_entered_again_and_does_only_what_is_missing(client: SyncPrefectClient, tmp_path: Path) -> None:
    flow_run_id = begin(client, tmp_path, "suspended", "engine")
    suspend_flow_run(flow_run_id=flow_run_id)
    processes.wait_until(lambda: kind_of("suspended") == "Failed", seconds=60)
    before = faults.knocks()
    assert sum(before.values()) < 40
    done = {item.document_id for item in Store.from_settings().result("suspended").document_results}
    assert state_of(client, flow_run_id) == "Suspended"
    resume_flow_run(flow_run_id)
    processes.wait_until(lambda: state_of(client, flow_run_id) == "Completed", seconds=90)
    assert kind_of("suspended") == "Completed"
    assert not done & set(faults.knocks() - before)
    assert Store.from_settings().result("suspended").success_count == 40


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_killed_child_is_written_down_before_its_lease_runs_out(client: SyncPrefectClient, tmp_path: Path, mode: str) -> None:
    begin(client, tmp_path, "killed", mode)
    began = time.monotonic()
    kill_child()
    # The lease is a minute; Prefect's worker notices in seconds, and its hook tells.
    processes.wait_until(lambda: kind_of("killed") == "Failed", seconds=30)
    assert time.monotonic() - began < 30
    assert list(flows.subscribe("killed"))[-1].model_dump()["_tag"] == "BatchEvent.BatchFailed"
    assert flows.resume_batch("killed", "legacy").success_count == 40


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_cancel_in_the_ui_ends_the_batch_as_cancelled(client: SyncPrefectClient, tmp_path: Path, mode: str) -> None:
    flow_run_id = begin(client, tmp_path, "cancelled", mode, count=200)
    client.set_flow_run_state(flow_run_id, Cancelling())
    processes.wait_until(lambda: kind_of("cancelled") == "Cancelled", seconds=60)
    assert sum(faults.knocks().values()) < 200
    reconcile.reconcile(Store.from_settings())
    assert kind_of("cancelled") == "Cancelled"


def kill_child() -> None:
    """Kill -9 to the one process that a worker runs a flow in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"prefect.engine" in command and os.environ[faults.DOOR].encode() in environ:
                found.append(int(entry.name))
    [child] = found
    os.kill(child, signal.SIGKILL)
