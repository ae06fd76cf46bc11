"""What Prefect says too late, and what it says of a batch that nobody holds."""

import json
from typing import Any
from uuid import UUID

import processes
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Crashed, Running
from sqlalchemy import select

import faults
import flows
from compat.store import Store
from compat.store.schema import BatchEventRow, BatchExecution, BatchRun, WorkflowExecution
from flows.operations import reconcile

pytestmark = pytest.mark.usefixtures("prefect_server", "environment")


def force(client: SyncPrefectClient, batch_id: str, state: State[Any]) -> UUID:
    """Makes the batch's flow run be in a state, as Prefect itself does late."""
    store = Store.from_settings()
    with store.database.read() as connection:
        found = connection.execute(select(BatchRun.flow_run_id).where(BatchRun.batch_id == batch_id)).scalar_one()
    client.set_flow_run_state(UUID(found), state, force=True)
    return UUID(found)


def rows() -> list[Any]:
    store = Store.from_settings()
    with store.database.read() as connection:
        return [connection.execute(select(table)).all() for table in (BatchExecution, WorkflowExecution, BatchEventRow, BatchRun)]


def settle(client: SyncPrefectClient, batch_id: str) -> None:
    """Both ways in which a state reaches our rows: the hook's, and reconcile's."""
    with Store.from_settings().database.read() as connection:
        found = connection.execute(select(BatchRun.flow_run_id).where(BatchRun.batch_id == batch_id)).scalar_one()
    state = client.read_flow_run(UUID(found)).state
    assert state is not None
    reconcile.settle(Store.from_settings(), batch_id, state)
    reconcile.reconcile(Store.from_settings())


@pytest.mark.parametrize("late", [Crashed(message="too late"), Cancelled(message="too late")], ids=["crashed", "cancelled"])
def test_a_completed_batch_stays_completed(late: State[Any], request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a")], batch_id="done"), "engine")
    before = rows()
    with get_client(sync_client=True) as client:
        force(client, "done", late)
        settle(client, "done")
    assert rows() == before


def test_a_cancelled_batch_stays_cancelled_when_its_flow_run_completes(request_of: Any) -> None:
    child = run_slowly("cancelled", request_of)
    flows.cancel_batch("cancelled")
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    before = rows()
    with get_client(sync_client=True) as client:
        force(client, "cancelled", Completed(message="too late"))
        settle(client, "cancelled")
    assert rows() == before
    assert type(flows.get_status("cancelled")).__name__ == "Cancelled"


def test_a_batch_whose_flow_run_crashed_is_written_down_before_its_lease_runs_out(request_of: Any) -> None:
    child = run_slowly("crashed", request_of)
    child.kill()
    child.communicate()
    assert type(flows.get_status("crashed")).__name__ == "Extracting"
    with get_client(sync_client=True) as client:
        force(client, "crashed", Crashed(message="its process was killed"))
    assert reconcile.reconcile_batches() == {"crashed": "failed"}
    assert reconcile.reconcile_batches() == {}
    state = flows.get_status("crashed").model_dump()
    assert (state["_tag"], state["error"]) == ("BatchState.Failed", "Flow run Crashed: its process was killed")


def test_a_batch_whose_flow_run_was_cancelled_ends_as_cancelled(request_of: Any) -> None:
    child = run_slowly("called off", request_of)
    child.kill()
    child.communicate()
    with get_client(sync_client=True) as client:
        force(client, "called off", Cancelled(message="by an operator"))
    assert reconcile.reconcile_batches() == {"called off": "cancelled"}
    assert type(flows.get_status("called off")).__name__ == "Cancelled"


def test_a_live_batch_is_left_alone_whatever_is_said_of_its_flow_run(request_of: Any) -> None:
    child = run_slowly("alive", request_of)
    with get_client(sync_client=True) as client:
        force(client, "alive", Running())
    assert reconcile.reconcile(Store.from_settings()) == {}
    flows.cancel_batch("alive")
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0


def run_slowly(batch_id: str, request_of: Any) -> Any:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(6)], batch_id=batch_id)
    child = processes.start(processes.RUN, "engine", request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "")
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 2)
    return child
