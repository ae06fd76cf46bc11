"""The flow run that a batch is served in: found, watched for a cancel, and told its end."""

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from compat.contracts import Cancelled as BatchCancelled
from compat.contracts import Failed as BatchFailed
from compat.settings import Settings
from compat.store import Store

log = logging.getLogger("knowledge_batch")


@dataclass(frozen=True)
class FlowRunHost:
    """The flow run that a batch is served in.

    ``flow_run_id`` is the one that a worker started this process for: runs further in stay Running for ever when it is
    killed, and one further out may go on elsewhere. Without a worker it is the outermost one. ``watched`` are the runs
    whose cancellation ends the batch.
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
        # Of a flow within a flow Prefect's API is asked, and may be away: a batch that legacy serves goes on all the same.
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
            # Deleted, or kept by an embedded server that is gone: the lease decides.
            return None


def final_state(store: Store, batch_id: str) -> State[Any]:
    """The flow run's own state for what the batch came to; a batch in which every document failed is Failed."""
    match store.state(batch_id):
        case BatchFailed(error=error):
            return Failed(message=error)
        case BatchCancelled(completed_documents=done, total_documents=total):
            return Cancelled(message=f"{done} of {total} documents were finished")
    batch = store.batch(batch_id)
    return Completed(
        message=f"{batch.completed_documents} of {batch.finished_documents} documents, "
        f"{batch.entity_count} entities, {batch.relation_count} relations"
    )
