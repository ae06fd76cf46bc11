"""Prefect's own parts as an operator runs them: deployments by `prefect deploy`, workers on one pool, schedules, dead runs."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest
import stacks
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

import faults
import flows
from compat.ids import derived_id
from flows.operations import automations

pytestmark = pytest.mark.slow

POOL = "knowledge-batch"
SECONDS = 240.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with processes.prefect_server(tmp_path_factory.mktemp("server")) as (url, _):
        yield url


@pytest.fixture
def client(server: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SyncPrefectClient]:
    """A client of a server that has our pool and deployments, made from a folder that isn't the project's."""
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
        done = subprocess.run(
            prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(files("deployments") / "prefect.yaml")),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=processes.environment(PREFECT_API_URL=server, PREFECT_HOME=str(tmp_path / "prefect")),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield client


def prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def ask(client: SyncPrefectClient, path: Any, body: dict[str, Any]) -> Any:
    return client.request("POST", path, json=body).json()


def start(client: SyncPrefectClient, **parameters: Any) -> str:
    deployment = client.read_deployment_by_name("run-batch/on-demand")
    return str(client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id)


def states(client: SyncPrefectClient, flow_run_ids: list[str]) -> Counter[str]:
    found = ask(client, "/flow_runs/filter", {"flow_runs": {"id": {"any_": flow_run_ids}}})
    return Counter(run["state"]["name"] for run in found)


def test_two_workers_share_ten_batches(client: SyncPrefectClient, server: str, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a"), faults.document("b")])
    runs = [start(client, source=source, mode=("legacy", "engine")[number % 2], batch_id=f"b{number}") for number in range(10)]
    with (
        processes.prefect_worker(server, tmp_path / "first", POOL, "--limit", "1"),
        processes.prefect_worker(server, tmp_path / "second", POOL, "--limit", "1"),
    ):
        processes.wait_until(lambda: states(client, runs) == {"Completed": 10}, SECONDS)
    assert {batch.batch_id for batch in flows.list_batches() if batch.status == "completed"} == {f"b{n}" for n in range(10)}
    assert faults.knocks() == {"a": 10, "b": 10}
    logs = [(tmp_path / name / "worker.log").read_text(encoding="utf-8") for name in ("first", "second")]
    took = [sum(f"submitting flow run '{run}'" in log for run in runs) for log in logs]
    # Both may reach for the same run; Prefect gives it to one, and the door has counted.
    assert min(took) > 0


def test_a_schedule_fires(client: SyncPrefectClient, server: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The nightly source is the sample, which is no script.
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    deployment = client.read_deployment_by_name("run-batch/nightly")
    soon = datetime.now(UTC) + timedelta(seconds=75)
    schedule = {"schedule": {"cron": f"{soon.minute} {soon.hour} * * *", "timezone": "Etc/UTC"}, "active": True}
    client.request("POST", "/deployments/{id}/schedules", path_params={"id": deployment.id}, json=[schedule])
    mine = {"deployments": {"id": {"any_": [str(deployment.id)]}}, "flow_runs": {"state": {"name": {"any_": ["Completed"]}}}}
    with processes.prefect_worker(server, tmp_path / "nightly", POOL):
        processes.wait_until(lambda: bool(ask(client, "/flow_runs/filter", mine)), SECONDS)
    [run] = ask(client, "/flow_runs/filter", mine)
    assert run["auto_scheduled"] is True
    assert run["expected_start_time"][:16] == soon.strftime("%Y-%m-%dT%H:%M")
    [batch] = flows.list_batches()
    assert batch.status == "completed"
    # Of the deployment and the time, so that the same night is the same batch, whichever run brings it.
    scheduled = datetime.fromisoformat(run["expected_start_time"])
    assert batch.batch_id == derived_id("knowledge_batch_execution", str(deployment.id), scheduled.isoformat())


def test_a_run_whose_worker_died_with_it_is_marked_crashed(client: SyncPrefectClient, server: str, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        automations.apply()
    source = stacks.source(tmp_path / "source", [faults.document(f"d{number}", seconds=0.5) for number in range(400)])
    with processes.prefect_worker(server, tmp_path / "dying", POOL) as process:
        run = start(client, source=source, mode="legacy", batch_id="orphan")
        processes.wait_until(lambda: bool(faults.knocks()), SECONDS)
        beats = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}}
        processes.wait_until(lambda: ask(client, "/events/filter", beats)["total"] > 0, SECONDS)
        for victim in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            victim.kill()
        process.wait()
    processes.wait_until(lambda: states(client, [run]) == {"Crashed": 1}, SECONDS)
    assert client.read_flow_run(run).state.message == "No heartbeat for 90 s"  # type: ignore[arg-type, union-attr]
