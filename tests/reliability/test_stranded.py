"""Flow runs whose process is gone: ended by the upkeep, with an event for the batch that was lost; living ones are left alone."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import processes
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from prefect.states import Pending, Running, Scheduled

import faults
import flows
from compat.contracts import BatchParams
from compat.modes import Decision, Mode
from compat.store import Store
from flows import deployed
from flows.operations import deployments, reconcile, stranded

pytestmark = pytest.mark.usefixtures("prefect_server", "environment")

LATER = timedelta(hours=1, minutes=1)
NIGHTLY = "run-batch/nightly"


@pytest.fixture(scope="module")
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        deployments.apply(lambda _: None)
        yield client
        for each in client.read_deployments():
            client.delete_deployment(each.id)


def ended(client: SyncPrefectClient, after: timedelta = LATER) -> set[UUID]:
    """The runs that the upkeep ends, so long after now."""
    found = stranded.end_stranded(client, [Store.from_settings()], "", stranded.server_time(client) + after)
    assert {run.state.name for run in found if run.state} <= {"Crashed"}
    return {run.id for run in found}


def started(client: SyncPrefectClient, deployment: str = NIGHTLY, **parameters: Any) -> UUID:
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, parameters=parameters, state=Scheduled()).id


def heard(client: SyncPrefectClient, event: str, resource: str) -> list[Any]:
    wanted = {"filter": {"event": {"name": [event]}, "resource": {"id": [resource]}}}
    found: list[Any] = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return found


def test_the_run_of_a_caller_that_was_killed_is_ended_with_its_batch(
    client: SyncPrefectClient, request_of: Any, environment: pytest.MonkeyPatch
) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(6)], batch_id="killed")
    child = processes.start(processes.RUN, "engine", request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "")
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 2)
    run_id = UUID(str(Store.from_settings().batch("killed").flow_run_id))
    assert "knowledge-batch" in client.read_flow_run(run_id).tags
    # It sends no heartbeats; its batch's do.
    assert run_id not in ended(client)
    child.kill()
    child.communicate()
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "0.5")
    processes.wait_until(lambda: Store.from_settings().batch("killed").dead)
    assert run_id not in ended(client, timedelta())
    assert run_id in ended(client)
    assert reconcile.reconcile(Store.from_settings()) == {"killed": "failed"}
    assert type(flows.get_status("killed")).__name__ == "Failed"


def test_a_run_that_was_heard_of_is_left_alone_and_one_that_never_was_is_ended(client: SyncPrefectClient) -> None:
    alive, dead = started(client), started(client)
    for run_id in (alive, dead):
        client.set_flow_run_state(run_id, Running(), force=True)
    resource, now = f"prefect.flow-run.{alive}", stranded.server_time(client)
    emit_event(event=stranded.HEARTBEAT, resource={"prefect.resource.id": resource}, occurred=now + timedelta(seconds=6))
    processes.wait_until(lambda: bool(heard(client, stranded.HEARTBEAT, resource)))
    three_heartbeats = timedelta(seconds=3 * 180)
    found = stranded.end_stranded(client, [Store.from_settings()], "", now + three_heartbeats + timedelta(seconds=4))
    assert dead in {run.id for run in found}
    assert alive not in {run.id for run in found}


def test_a_dead_run_is_ended_while_legacy_has_a_batch_at_work(client: SyncPrefectClient, request_of: Any) -> None:
    params = BatchParams.model_validate(request_of([faults.document("d")], batch_id="without-flow-run"))
    # Neither the batch has a flow run, nor the run a batch id.
    assert Store.from_settings().claim(params, Decision(Mode.LEGACY, "asked for")) is not None
    dead = started(client)
    client.set_flow_run_state(dead, Running(), force=True)
    assert dead in ended(client)


def test_a_run_stands_in_pending_while_its_worker_lives_and_is_ended_once_that_is_gone(client: SyncPrefectClient) -> None:
    client.request("POST", "/work_pools/", json=WorkPoolCreate(name="living", type="process").model_dump(mode="json"))
    client.request("POST", "/work_pools/living/workers/heartbeat", json={"name": "w1"})  # type: ignore[arg-type]
    orphan, waiting = started(client), started(client)
    for run_id, worker in ((orphan, "gone"), (waiting, "w1")):
        client.request("PATCH", f"/flow_runs/{run_id}/labels", json={"prefect.worker.name": worker})  # type: ignore[arg-type]
        client.set_flow_run_state(run_id, Pending(), force=True)
    client.request("POST", "/work_pools/knowledge-batch/workers/heartbeat", json={"name": "w1"})  # type: ignore[arg-type]
    found = ended(client, timedelta(minutes=10))
    assert orphan in found
    assert waiting not in found
    assert waiting in ended(client)


def test_a_night_that_is_lost_before_its_batch_is_stored_is_told(client: SyncPrefectClient) -> None:
    run_id = started(client)
    client.set_flow_run_state(run_id, Pending(), force=True)
    assert run_id in ended(client)
    run = client.read_flow_run(run_id)
    reconcile.tell_if_lost(Store.from_settings(), run)
    resource = f"knowledge.batch.{deployed.batch_id_of(run)}"
    processes.wait_until(lambda: bool(heard(client, "knowledge.batch.failed", resource)))
    [event] = heard(client, "knowledge.batch.failed", resource)
    assert "Crashed: Pending for" in event["payload"]["reason"]


def test_a_night_whose_source_is_gone_is_told(client: SyncPrefectClient, tmp_path: Path) -> None:
    from prefect.flow_engine import run_flow

    run_id = started(client, source=str(tmp_path / "gone"))
    run = client.read_flow_run(run_id)
    state: Any = run_flow(deployed.run_batch, run, run.parameters, return_type="state")
    assert state.is_failed()
    resource = f"knowledge.batch.{deployed.batch_id_of(run)}"
    processes.wait_until(lambda: bool(heard(client, "knowledge.batch.failed", resource)))


def test_the_upkeep_is_not_held_up_by_its_own_dead_run_and_clears_what_waits_behind_it(client: SyncPrefectClient) -> None:
    upkeep = "reconcile/upkeep"
    dead, waiting, now = started(client, upkeep), started(client, upkeep), started(client, upkeep)
    client.set_flow_run_state(dead, Running(), force=True)
    # A limit, which the dead one would hold, would refuse this.
    assert client.set_flow_run_state(now, Pending()).status.value == "ACCEPT"
    assert client.set_flow_run_state(now, Running()).status.value == "ACCEPT"
    assert stranded.cancel_waiting(client, str(now), stranded.server_time(client) + timedelta(seconds=2)) == 1
    state = client.read_flow_run(waiting).state
    assert state is not None
    assert state.is_cancelled()
    assert dead in ended(client)
