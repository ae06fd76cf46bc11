"""The flow behind the form and the schedules, as Prefect enters it: once, again, twice for one time, and beside another one."""

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import processes
import pytest
import stacks
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.schedules import CronSchedule
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Crashed, Pending
from rdflib import OWL, RDF

import faults
import flows
from compat.errors import BatchNotFoundError, OtherInputError
from compat.store import Store
from flows import deployed
from flows.operations import reconcile

pytestmark = pytest.mark.usefixtures("prefect_server", "environment")


def enter(flow_run_id: UUID) -> State[Any]:
    """Enters the flow for a run that is there, as a worker's child does."""
    with get_client(sync_client=True) as client:
        # Its time may be in a while, or it may have ended.
        client.set_flow_run_state(flow_run_id, Pending(), force=True)
        run = client.read_flow_run(flow_run_id)
    state = run_flow(deployed.run_batch, flow_run=run, parameters=run.parameters, return_type="state")
    assert isinstance(state, State)
    return state


def create(client: SyncPrefectClient, **parameters: Any) -> UUID:
    return client.create_flow_run(deployed.run_batch, parameters=parameters).id


def scheduled_twice(client: SyncPrefectClient, **parameters: Any) -> list[FlowRun]:
    """Two runs that a deployment's schedules have made for the same time, as happens when one is added by mistake."""
    flow_id = client.create_flow(deployed.run_batch)
    every_night = CronSchedule(cron="0 2 * * *", timezone="Etc/UTC")
    deployment_id = client.create_deployment(
        flow_id=flow_id,
        name=uuid4().hex,
        parameters=parameters,
        schedules=[DeploymentScheduleCreate(schedule=every_night), DeploymentScheduleCreate(schedule=every_night)],
    )
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment_id}, json={"min_runs": 1})
    runs = client.read_flow_runs()
    mine = [run for run in runs if run.deployment_id == deployment_id and run.auto_scheduled]
    first = min(run.expected_start_time for run in mine if run.expected_start_time is not None)
    return [run for run in mine if run.expected_start_time == first]


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_time_that_is_scheduled_twice_runs_nothing_twice(mode: str, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a"), faults.document("b")])
    with get_client(sync_client=True) as client:
        first, second = scheduled_twice(client, source=source, mode=mode)
    assert enter(first.id).is_completed()
    # Changed, then gone: it isn't asked any more.
    shutil.rmtree(source)
    assert enter(second.id).message == "2 of 2 documents, 4 entities, 2 relations"
    assert faults.knocks() == {"a": 1, "b": 1}
    [batch] = flows.list_batches()
    assert batch.status == "completed"


def test_a_repeated_time_goes_on_with_what_failed_though_its_source_has_changed(tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a", fail=4)])
    with get_client(sync_client=True) as client:
        first, second = scheduled_twice(client, source=source)
    assert enter(first.id).is_failed()
    (Path(source) / "documents.jsonl").write_text('{"documentId": "other", "text": "{}"}', encoding="utf-8")
    assert enter(second.id).is_completed()
    assert faults.knocks() == {"a": 5}


@pytest.mark.parametrize("batch_id", ["", "mine"], ids=["an id that was made", "an id that was asked for"])
def test_a_run_that_is_entered_again_reads_its_source_no_more(batch_id: str, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a", fail=4), faults.document("b", fail=4)])
    with get_client(sync_client=True) as client:
        flow_run_id = create(client, source=source, batch_id=batch_id, only_new=True)
    assert enter(flow_run_id).is_failed()
    shutil.rmtree(source)
    assert enter(flow_run_id).is_completed()
    assert faults.knocks() == {"a": 5, "b": 5}
    assert enter(flow_run_id).is_completed()
    assert faults.knocks() == {"a": 5, "b": 5}


def test_a_failed_batchs_id_with_another_source_is_refused(tmp_path: Path) -> None:
    failed = stacks.source(tmp_path / "failed", [faults.document("a", fail=4)])
    other = stacks.source(tmp_path / "other", [faults.document("b")])
    with get_client(sync_client=True) as client:
        first, second, third = (create(client, source=source, batch_id="taken") for source in (failed, other, failed))
    assert enter(first).is_failed()
    assert isinstance(enter(second).result(raise_on_failure=False), OtherInputError)
    assert faults.knocks() == {"a": 4}
    # The same input by another run goes on with it, as ever.
    assert enter(third).is_completed()


def test_a_cancelled_batch_that_is_entered_again_stays_cancelled(tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a", fail=4)])
    with get_client(sync_client=True) as client:
        flow_run_id = create(client, source=source)
        batch_id = deployed.batch_id_of(client.read_flow_run(flow_run_id))
    documents = deployed.sources.load(source)
    store = Store.from_settings()
    claim = store.claim(documents.request(batch_id, {}), flows.current_mode())
    assert claim is not None
    store.cancel(batch_id)
    store.fail(claim, "its process was killed")
    assert enter(flow_run_id).is_cancelled()
    assert faults.knocks() == {}


def test_only_what_is_new_goes_through_the_flow(tmp_path: Path) -> None:
    first = stacks.source(tmp_path / "first", [faults.document("a"), faults.document("b")])
    second = stacks.source(tmp_path / "second", [faults.document("a"), faults.document("c")])
    with get_client(sync_client=True) as client:
        runs = [create(client, source=source, only_new=True) for source in (first, second)]
    assert [enter(run).message for run in runs] == [
        "2 of 2 documents, 4 entities, 2 relations",
        "1 of 1 documents, 2 entities, 1 relations",
    ]
    assert faults.knocks() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("ending", [Cancelled(), Crashed()], ids=["cancelled", "crashed"])
def test_the_end_of_another_run_with_the_same_id_leaves_a_living_batch_alone(
    ending: State[Any], tmp_path: Path, request_of: Any
) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(6)], batch_id="alive")
    child = processes.start(processes.RUN, "legacy", request=json.dumps(request))
    processes.wait_until(lambda: sum(faults.knocks().values()) == 3)
    with get_client(sync_client=True) as client:
        flow_run_id = create(client, source="sample", batch_id="alive")
        client.set_flow_run_state(flow_run_id, ending, force=True)
        other = client.read_flow_run(flow_run_id)
    assert other.state is not None
    deployed.settle_batch(deployed.run_batch, other, other.state)
    assert type(flows.get_status("alive")).__name__ == "Extracting"
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    assert type(flows.get_status("alive")).__name__ == "Completed"
    assert sum(faults.knocks().values()) == 6


SERVED = """
import json, sys
from prefect import flow
from prefect.runtime import flow_run
import flows

@flow(retries=0)
def theirs(request, mode):
    print(flow_run.id, flush=True)
    flows.run_batch(request, mode)

theirs(json.load(sys.stdin), sys.argv[1])
"""


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_batch_ends_with_the_outermost_flow_run_that_it_is_served_in(mode: str, request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL

    request = request_of([faults.document(f"d{number}", held=True) for number in range(6)], batch_id="inside")
    child = processes.start(SERVED, mode, request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "")
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 2)
    child.kill()
    out, _ = child.communicate()
    outermost = out.split()[0]
    assert Store.from_settings().batch("inside").flow_run_id == outermost
    assert reconcile.reconcile(Store.from_settings()) == {}
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(outermost), Crashed(message="its process was killed"), force=True)
    assert reconcile.reconcile(Store.from_settings()) == {"inside": "failed"}


def test_a_batch_that_goes_on_elsewhere_no_longer_ends_with_its_first_flow_run(tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a", fail=4)])
    with get_client(sync_client=True) as client:
        flow_run_id = create(client, source=source, batch_id="taken over")
        assert enter(flow_run_id).is_failed()
        store = Store.from_settings()
        claim = store.resume("taken over", flows.current_mode())
        client.set_flow_run_state(flow_run_id, Cancelled(), force=True)
    assert reconcile.reconcile(store) == {}
    assert not store.heartbeat(claim).cancel_requested


def test_the_form_says_what_of_its_source_was_read_and_refuses_what_can_give_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ontology.nt").write_text(f"<https://x.org/Sea> <{RDF.type}> <{OWL.Class}> .", encoding="utf-8")
    (folder / "a.txt").write_text("The sea.", encoding="utf-8")
    (folder / "data.bin").write_bytes(b"x")
    with get_client(sync_client=True) as client:
        good = create(client, source=str(folder), extractor="rules")
        stdin = create(client, source="-")
        assert enter(good).is_completed()
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[good]))
        said = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=of_run)}["batch-summary"]
        assert "| Source | ontology.nt: 1 class, 0 properties, 0 individuals; 1 without a label" in said
        assert "| Source | 1 file was not read: data.bin |" in said
        assert "is stdin" in str(enter(stdin).message)
        (folder / "ontology.nt").write_text("# nothing", encoding="utf-8")
        useless = create(client, source=str(folder), extractor="rules", batch_id="useless")
        assert "declares no class" in str(enter(useless).message)
    with pytest.raises(BatchNotFoundError):
        Store.from_settings().state("useless")
