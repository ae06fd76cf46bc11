"""The flow run that a batch is served in: found, watched for a cancel, and given its final state."""

import logging
import shlex
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from compat.contracts import Cancelled as BatchCancelled
from compat.contracts import Failed as BatchFailed
from compat.ids import derived_id
from compat.settings import Settings
from compat.store import Store

log = logging.getLogger("knowledge_batch")


@dataclass(frozen=True)
class FlowRunHost:
    """The flow run that a batch is served in.

    ``flow_run_id`` is the run that a worker started this process for: its subflow runs stay Running for ever when the
    process is killed, and its parent may go on elsewhere. Without a worker it is the outermost run. ``watched`` are the
    runs whose cancellation ends the batch.
    """

    flow_run_id: str | None
    watched: frozenset[str]

    @classmethod
    def find(cls, started_for: str | None) -> "FlowRunHost":
        """Return the flow run that this is called in.

        Args:
            started_for: The flow run that a worker started this process for, where one did.
        """
        outermost = _outermost_flow_run()
        here = flow_run.get_id()
        return cls(started_for or outermost, frozenset(each for each in (here, outermost) if each))

    def is_cancelled(self) -> bool:
        """Return whether one of the watched runs was cancelled."""
        states = [state_of(flow_run_id) for flow_run_id in self.watched]
        return any(state is not None and (state.is_cancelling() or state.is_cancelled()) for state in states)


def _outermost_flow_run() -> str | None:
    try:
        return flow_run.get_root_flow_run_id()
    except Exception:
        # For a subflow, Prefect's API is asked and may not answer: a batch that legacy serves must go on.
        log.debug("the outermost flow run is not known", exc_info=True)
        return flow_run.get_id()


def state_of(flow_run_id: str | None) -> State[object] | None:
    """Return a flow run's state; None where Prefect doesn't know the run."""
    if flow_run_id is None:
        return None
    with get_client(httpx_settings={"timeout": Settings.load().prefect_timeout_seconds}, sync_client=True) as client:
        try:
            return client.read_flow_run(UUID(flow_run_id)).state
        except ObjectNotFound:
            # The run was deleted, or its embedded server is gone: the lease decides.
            return None


def batch_id_of(flow_run: FlowRun) -> str:
    """Return the batch id of a flow run: the one given, else one that stays the same when the run is entered or repeated.

    A scheduled run's is made of its deployment and the time that it was scheduled for, any other one's of the run.
    """
    given: str = flow_run.parameters.get("batch_id") or ""
    if given:
        return given
    if flow_run.auto_scheduled and flow_run.expected_start_time is not None:
        scheduled = flow_run.expected_start_time.astimezone(UTC).isoformat()
        return derived_id("knowledge_batch_execution", str(flow_run.deployment_id), scheduled)
    return derived_id("knowledge_batch_execution", str(flow_run.id))


def cancelled(store: Store, batch_id: str) -> State[Any]:
    """Return the final state of a flow run that was cancelled, with how far its batch had come."""
    batch = store.batch(batch_id)
    return Cancelled(message=f"{batch.finished_documents} of {batch.total_documents} documents were finished")


def final_state(store: Store, batch_id: str, *, fail_on_error: bool = False) -> State[Any]:
    """Return the flow run's final state for the batch's end.

    A batch in which every document failed is Failed; with ``fail_on_error`` the run of one in which any did is, too.
    """
    match store.state(batch_id):
        case BatchFailed(error=error):
            return Failed(message=error)
        case BatchCancelled(completed_documents=done, total_documents=total):
            return Cancelled(message=f"{done} of {total} documents were finished")
    batch = store.batch(batch_id)
    counts = (
        f"{batch.completed_documents} of {batch.finished_documents} documents, "
        f"{batch.entity_count} entities, {batch.relation_count} relations"
    )
    if fail_on_error and batch.failed_documents:
        again = f"run them again with knowledge-batch run --failed-of {shlex.quote(batch_id)}"
        return Failed(message=f"{batch.failed_documents} of {batch.finished_documents} documents failed; {again} ({counts})")
    return Completed(message=counts)
