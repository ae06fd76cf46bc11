"""Flow runs behind which nobody works: found by their silence and ended as Crashed, so that nothing waits for them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from prefect.states import Cancelled, Crashed

from compat.store import Store
from flows.operations.automations import HEARTBEAT_SECONDS, MISSED

# What our flow runs bear, those of callers too.
TAG = "knowledge-batch"
# A worker that is there starts a run's process within seconds; this is for one that came back under the name of a dead one.
PENDING_SECONDS = 3600.0
PAGE = 200
HEARTBEAT = "prefect.flow-run.heartbeat"


def server_time(client: SyncPrefectClient) -> datetime:
    """Return the time by the clock of Prefect's server, which the states of runs bear."""
    return parsedate_to_datetime(client.request("GET", "/health").headers["date"]).astimezone(UTC)


def end_stranded(client: SyncPrefectClient, stores: list[Store], own: str, now: datetime) -> list[FlowRun]:
    """End our flow runs whose process is gone, and return them in their new state.

    A run that says Running is dead if neither a heartbeat of it nor its batch's was heard for three of its heartbeats; one that
    says Pending, if the worker that took it is gone.

    Args:
        client: A client of Prefect's API.
        stores: Where batches are: one that lives keeps its flow run alive.
        own: The flow run that this is called in.
        now: The time by the server's clock.
    """
    seconds = MISSED * (PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or HEARTBEAT_SECONDS)
    living = [batch for store in stores for batch in store.unfinished() if not batch.dead]
    # A batch in legacy has no flow run, and a run of the form no batch id: that None is None makes neither the other's.
    known = ({batch.batch_id for batch in living} | {batch.flow_run_id for batch in living}) - {None}
    ended = []
    for run in _runs(client, ["RUNNING", "PENDING", "CANCELLING"]):
        if run.state is None or str(run.id) == own or known & {str(run.id), run.parameters.get("batch_id")}:
            continue
        silent = now - run.state.timestamp
        if silent < timedelta(seconds=seconds):
            continue
        if run.state.type == StateType.PENDING:
            if silent < timedelta(seconds=PENDING_SECONDS) and _worker_is_online(client, run):
                continue
            why = f"Pending for {silent.total_seconds():.0f} s, and the worker that took it is gone"
        elif _was_heard(client, run, now - timedelta(seconds=seconds)):
            continue
        else:
            why = f"No heartbeat for {seconds:g} s, of the run or of its batch"
        client.set_flow_run_state(run.id, Crashed(message=why), force=True)
        ended.append(client.read_flow_run(run.id))
    return ended


def cancel_waiting(client: SyncPrefectClient, own: str, now: datetime) -> int:
    """Cancel the runs of this run's deployment that wait for a worker since before now; return how many.

    They gather while no worker is there, and would all do what this one does.
    """
    run = client.read_flow_run(UUID(own))
    if run.deployment_id is None:
        return 0
    waiting = {
        "deployment_id": {"any_": [str(run.deployment_id)]},
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "next_scheduled_start_time": {"before_": now.isoformat()},
    }
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(waiting), limit=PAGE)
    for each in found:
        client.set_flow_run_state(each.id, Cancelled(message=f"The run {run.name} did its work"))
    return len(found)


def _runs(client: SyncPrefectClient, types: list[str]) -> Iterator[FlowRun]:
    wanted = FlowRunFilter.model_validate({"tags": {"all_": [TAG]}, "state": {"type": {"any_": types}}})
    found: list[FlowRun] = []
    # All of them first: ending one moves the pages.
    while len(page := client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=len(found))):
        found += page
        if len(page) < PAGE:
            break
    yield from found


def _was_heard(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    heartbeats: dict[str, Any] = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        "occurred": {"since": since.isoformat()},
    }
    return bool(client.request("POST", "/events/filter", json={"filter": heartbeats, "limit": 1}).json()["events"])


def _worker_is_online(client: SyncPrefectClient, run: FlowRun) -> bool:
    pool, worker = run.work_pool_name, run.labels.get("prefect.worker.name")
    if pool is None or worker is None:
        return False
    workers = client.request("POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": pool}).json()
    return any(each["name"] == worker and each["status"] == "ONLINE" for each in workers)
