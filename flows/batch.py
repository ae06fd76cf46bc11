"""The engine: one Prefect flow a batch, three policies, task retries as the only retries."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from compat.contracts import Extractor
from compat.errors import KnowledgeBatchError
from compat.policy import documents_per_task
from compat.recorder import Recorder
from compat.settings import Settings
from compat.status import RowStatus
from compat.store import Claim, Store
from flows.embedded import use_embedded_server
from tasks.extract import DocumentsFailedError, extraction_task
from tasks.extraction import load_extractor
from tasks.resolve import resolve_entities

# How long Prefect's API may keep a batch waiting before the batch goes on without it, in seconds.
API_SECONDS = 4.0
IN_PROCESS: dict[Any, Any] = {
    # Costs a second at the end of every flow; our lease sees a dead process.
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    PREFECT_API_REQUEST_TIMEOUT: API_SECONDS,
}


class EngineError(Exception):
    """The engine's machinery failed: a task run crashed, or ended without an outcome for its documents."""


def run(claim: Claim) -> None:
    """Works through what is missing of a batch in Prefect, in this process, and ends it.

    Raises where the machinery fails; then the batch is as far as its rows say, and not ended.
    """
    use_embedded_server()
    # Any: the runner's futures are a subtype of those that Flow asks for, and its type is invariant.
    threads: Any = ThreadPoolTaskRunner(max_workers=claim.config.concurrency)
    engine = extract_batch.with_options(flow_run_name=f"{claim.batch_id} (engine)", task_runner=threads)
    with temporary_settings(IN_PROCESS):
        check_api()
        state: State[Any] = engine(claim.batch_id, claim.owner, return_state=True)
    if not Store.from_settings().has_ended(claim.batch_id):
        # The row is the truth: a flow run may say Failed for a batch that ended as it should.
        error = state.result(raise_on_failure=False)
        raise error if isinstance(error, KnowledgeBatchError) else EngineError(f"{state.name}: {state.message}")


def check_api() -> None:
    """Raises EngineError where Prefect's API refuses or stays silent, before a flow run waits for it."""
    with get_client(httpx_settings={"timeout": API_SECONDS}, sync_client=True) as client:
        refusal = client.api_healthcheck()
    if refusal is not None:
        raise EngineError(f"Prefect's API at {client.api_url} doesn't answer: {type(refusal).__name__}: {refusal}")


def is_cancelled(flow_run_id: UUID) -> bool:
    """Whether somebody cancelled the flow run, in Prefect's UI say."""
    with get_client(httpx_settings={"timeout": API_SECONDS}, sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())


@flow(name="extract-batch", retries=0, persist_result=False)
def extract_batch(batch_id: str, owner: str) -> State[Any]:
    """Extracts the documents of a batch that have no outcome yet, resolves entities, and ends the batch.

    Args:
        batch_id: The batch, as stored.
        owner: The token of the claim on it.
    """
    settings = Settings.load()
    store = Store.from_settings(settings)
    claim, flow_run_id = store.held(batch_id, owner), UUID(flow_run.get_id())
    store.note_flow_run(claim, str(flow_run_id))
    with Recorder(store, claim, settings.retry_base_seconds, lambda: is_cancelled(flow_run_id)) as recorder:
        recorder.begin()
        extract_pending(recorder, load_extractor(settings.extractor), settings)
        if recorder.claim.config.enable_entity_resolution and not recorder.stopping:
            resolve_entities(recorder)
        return final_state(recorder.finish(), store, batch_id)


def extract_pending(recorder: Recorder, extractor: Extractor, settings: Settings) -> None:
    """Sends the pending documents through task runs, in shards side by side, or one by one under abort-all."""
    pending = recorder.pending()
    size = documents_per_task(recorder.claim.config, len(pending), settings.documents_per_task)
    task = extraction_task(recorder.policy)
    if recorder.policy.sequential:
        for shard in shards(pending, size):
            if recorder.stopping or recorder.any_failed():
                return
            check(task.submit(shard, recorder, extractor))
        return
    for future in [task.submit(shard, recorder, extractor) for shard in shards(pending, size)]:
        check(future)
    if not recorder.stopping and recorder.pending():
        raise EngineError("task runs ended and left documents without an outcome")


def check(future: PrefectFuture[None]) -> None:
    """Waits for a task run. A failed document is an outcome; any other failure is raised."""
    future.wait()
    error = future.state.result(raise_on_failure=False)
    if isinstance(error, BaseException) and not isinstance(error, DocumentsFailedError):
        raise error


def shards(document_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Consecutive runs of at most ``size`` documents."""
    for start in range(0, len(document_ids), size):
        yield document_ids[start : start + size]


def final_state(status: RowStatus, store: Store, batch_id: str) -> State[Any]:
    """The flow run's own state for what the batch came to; a batch in which every document failed is Failed."""
    result = store.result(batch_id)
    message = (
        f"{result.success_count} of {result.total_documents} documents, "
        f"{result.entity_count} entities, {result.relation_count} relations"
    )
    if status == RowStatus.COMPLETED:
        return Completed(message=message)
    if status == RowStatus.CANCELLED:
        return Cancelled(message=message)
    return Failed(message=f"All {result.total_documents} documents failed")
