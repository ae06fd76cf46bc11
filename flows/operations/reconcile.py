"""Dead batches and flow runs ended: by their lease, by their flow run's end, and their shadow requests submitted."""

import logging
import time

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run

from compat.errors import BatchNotFoundError, InvalidStateTransitionError
from compat.settings import Settings
from compat.status import RowStatus, legacy_status
from compat.store import BatchRecord, Store
from flows import watch
from flows.engine import publishing
from flows.form import log_in_words
from flows.host.flow_run import batch_id_of, state_of
from flows.operations.stranded import cancel_waiting, end_stranded, server_time
from flows.shadow import submission

log = logging.getLogger("knowledge_batch")

# Seconds between two looks for a sign of life.
LOOK_SECONDS = 0.2


def reconcile(store: Store) -> dict[str, RowStatus]:
    """Give every batch that is dead, or whose flow run has ended badly, its terminal status.

    A row that has a terminal status is never changed, whatever Prefect says later. A batch whose
    flow run was cancelled is asked to end; its process ends it where one is alive.

    Returns:
        The batches that this call ended, with the present status of their rows.
    """
    ended: dict[str, RowStatus] = {}
    for batch in store.unfinished():
        status = store.reconcile(batch.batch_id) if batch.dead else _by_flow_run(store, batch)
        if status in (RowStatus.FAILED, RowStatus.CANCELLED):
            ended[batch.batch_id] = status
    return ended


def _by_flow_run(store: Store, batch: BatchRecord) -> RowStatus | None:
    state = state_of(batch.flow_run_id)
    return None if state is None else settle(store, batch.batch_id, state)


def settle(store: Store, batch_id: str, state: State[object]) -> RowStatus:
    """End a batch as its flow run's state says, unless its process has given a sign of life since."""
    said = legacy_status(state.type.value, state.name, state.message)
    if said == RowStatus.CANCELLED:
        try:
            store.cancel(batch_id)
        except InvalidStateTransitionError:
            # It had ended before; the first terminal status stands.
            log.debug("batch %s has ended, its flow run was cancelled later", batch_id)
    if said not in (RowStatus.CANCELLED, RowStatus.FAILED):
        return store.reconcile(batch_id)
    _wait_for_silence(store, batch_id)
    return store.reconcile(batch_id, f"Flow run {state.name}: {state.message or 'no reason given'}")


def _wait_for_silence(store: Store, batch_id: str) -> None:
    """Wait until the batch has ended, given a sign of life, or missed two heartbeats.

    When its flow run ended is a moment of Prefect's clock, which nobody compares with the database's. A process that
    is there is heard within a heartbeat.
    """
    first = store.batch(batch_id)
    batch = first
    while not (batch.ended or batch.silent) and batch.heartbeat_at == first.heartbeat_at:
        time.sleep(LOOK_SECONDS)
        batch = store.batch(batch_id)


@flow(name="reconcile", retries=0, flow_run_name="upkeep", persist_result=False)
def reconcile_batches() -> dict[str, str]:
    """End flow runs without a process and dead batches, submit shadows that are still waited for, and check what nobody has.

    Meant to run every 5 minutes; two at a time do no harm.
    """
    log_in_words()
    settings = Settings.load()
    store = Store.from_settings(settings)
    own = str(flow_run.get_id())
    with get_client(sync_client=True) as client:
        now = server_time(client)
        cancel_waiting(client, own, now)
        lost = end_stranded(client, [store, Store.of_shadows(settings)], own, now)
    ended = reconcile(store)
    for batch_id, status in ended.items():
        # Nobody else does: the process that would have is gone.
        publishing.emit_about(store, batch_id, status.value)
    for run in lost:
        tell_if_lost(store, run)
    submission.submit_waiting(store)
    watch.sweep(store)
    return {batch_id: status.value for batch_id, status in ended.items()}


def tell_if_lost(store: Store, run: FlowRun) -> None:
    """Emit ``knowledge.batch.failed`` for a run that was to run a batch and ended before it was stored, a night's for example."""
    batch_id = batch_id_of(run)
    if run.state is None or run.deployment_id is None or "source" not in run.parameters:
        return
    try:
        store.batch(batch_id)
    except BatchNotFoundError:
        status = legacy_status(run.state.type.value, run.state.name, run.state.message)
        publishing.emit_lost(batch_id, status, f"Flow run {run.name} {run.state.name}: {run.state.message or 'no reason given'}")
