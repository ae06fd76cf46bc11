"""The way in: run a batch, ask after it, follow it, cancel it, resume it. Imports no Prefect until the engine is asked for."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any

from compat.contracts import (
    ActivityProgress,
    BatchCancelled,
    BatchEvent,
    BatchParams,
    BatchResult,
    BatchStarted,
    BatchState,
    BatchSummary,
    Cancelled,
    Completed,
    Failed,
)
from compat.cutover import record
from compat.errors import InvalidInputError, Problem
from compat.ids import document_execution_id, new_id
from compat.modes import Asker, Decision, Mode, decide, parse_mode
from compat.private import wait_at_exit
from compat.recording.giving_up import wait_for_giving_up
from compat.recording.lease import StopRequest
from compat.settings import Settings
from compat.store import Claim, Store, events, shadow_requests
from compat.store.claims import cancel_again
from compat.store.failures import infrastructure
from compat.store.intake import Request
from flows.context import BatchContext, decided, open_store
from flows.serving import serve

log = logging.getLogger("knowledge_batch")


def run_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchResult:
    """Runs a batch to its end and returns what came of every document.

    Args:
        params: The request; a mapping may use the JSON names (camelCase) or the attributes'.
        mode: ``legacy``, ``engine`` or ``shadow``; without one the environment, the stored switch, then legacy decide.

    Returns:
        The result, also where every document failed. Of a batch that is completed already, the stored one.

    Raises:
        InvalidInputError: A field, the mode or a setting is wrong; nothing was written.
        BatchAlreadyRunningError: Another run holds this batch id.
        InvalidStateTransitionError: The id was used with other input, or the batch has failed (resume it) or was cancelled.
        BatchInfrastructureError: Database or Prefect failed; what finished is stored and can be resumed.
    """
    return _run_to_result(BatchParams.parse(params), mode)


async def arun_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchResult:
    """``run_batch`` for callers in an event loop: the batch works in a thread of its own, and the loop goes on.

    Where the task that awaits it is cancelled (a timeout, Ctrl-C), no document starts from then on; the cancellation is
    raised once those in work have finished, and the batch has failed as interrupted: ``resume_batch`` goes on with
    it. To end a batch for good, call ``cancel_batch``.
    """
    params = BatchParams.parse(params)
    params = params.model_copy(update={"batch_id": params.batch_id or new_id("knowledge_batch_execution")})
    # A pool of its own: the loop's has few threads, and many batches would wait for each other.
    pool = ThreadPoolExecutor(1, thread_name_prefix=f"batch {params.batch_id}")
    stop = StopRequest()
    # With the caller's context variables, by which Prefect knows the flow run around it.
    work = asyncio.get_running_loop().run_in_executor(pool, copy_context().run, _run_to_result, params, mode, stop)
    pool.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.ask("Interrupted: the task that awaited it was cancelled")
        await asyncio.wait([work])
        # Asked for, so that nobody complains of an error that was never looked at.
        work.exception()
        raise


def run_request(request: Request, mode: str | None = None) -> BatchState:
    """As ``run_batch``, for documents that needn't fit into memory; what came of them stays in the store.

    Args:
        request: Of ``flows.sources.load(...).request(...)``, or ``BatchParams``.
        mode: As for ``run_batch``.

    Returns:
        Where the batch stands at its end.

    Raises what ``run_batch`` raises.
    """
    context = _run(request, mode)
    return context.store.state(context.batch_id)


def start_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchStarted:
    """Starts a batch and returns at once; it goes on in a thread, which the interpreter waits for at its exit.

    Raises what ``run_batch`` raises before the first document. Later failures show in ``get_status``.
    """
    params = BatchParams.parse(params)
    batch_id = params.batch_id or new_id("knowledge_batch_execution")
    context = BatchContext.open(batch_id, mode, organization_id=params.organization_id)
    claim = context.store.claim(params, context.decision, context.batch_id, shadow_requests.add_for)
    if claim is not None:
        thread = Thread(target=_serve_unattended, args=(context, claim), name=f"batch {claim.batch_id}")
        wait_at_exit(thread.join)
        thread.start()
    return BatchStarted(batch_id=context.batch_id, total_documents=len(params.documents))


def resume_batch(batch_id: str, mode: str | None = None) -> BatchResult:
    """Goes on with a failed or interrupted batch, in either mode: does what is missing and returns the whole result.

    Raises BatchNotFoundError, BatchAlreadyRunningError, InvalidStateTransitionError where the batch
    is completed or cancelled, and what ``run_batch`` raises.
    """
    return _resume(batch_id, mode).result(batch_id)


def resume_request(batch_id: str, mode: str | None = None) -> BatchState:
    """As ``resume_batch``, for a batch whose result needn't fit into memory. Returns where it stands at its end."""
    return _resume(batch_id, mode).state(batch_id)


def get_status(batch_id: str) -> BatchState:
    """Where a batch stands. One whose process died is reported Failed once its lease has run out. Raises BatchNotFoundError."""
    return open_store(batch_id, "batch_get_status").state(batch_id)


def subscribe(batch_id: str, follow: bool = False) -> Iterator[BatchEvent]:
    """The batch's stored events from the first on; with ``follow`` also those to come, up to the terminal one.

    Following ends as well where the batch's process has died: then no further event will come.
    Raises BatchNotFoundError.
    """
    store = open_store(batch_id, "batch_get_status")
    store.state(batch_id)
    return events.follow(store.database, batch_id, lambda: follow and not _has_ended(store.state(batch_id)))


def document_progress(batch_id: str, document_id: str) -> list[ActivityProgress]:
    """Return the progress of one document's pipeline so far: an entry as each attempt starts, and one as it ends.

    Raises BatchNotFoundError, and WorkflowNotFoundError where the document hasn't been started or isn't in the batch.
    """
    store = open_store(batch_id, "batch_get_status")
    store.state(batch_id)
    with infrastructure(batch_id, "batch_get_status"):
        return events.document_progress(store.database, document_execution_id(batch_id, document_id))


def cancel_batch(batch_id: str) -> BatchCancelled:
    """Cancels a batch: no document starts from now on, those in work finish and are recorded.

    Raises BatchNotFoundError, or InvalidStateTransitionError where the batch has ended.
    """
    open_store(batch_id, "batch_run_dispatch", cancel_again(batch_id)).cancel(batch_id)
    return BatchCancelled(batch_id=batch_id)


def list_batches(limit: int = 50) -> list[BatchSummary]:
    """The newest batches first, at most ``limit`` of them."""
    return Store.from_settings().summaries(limit)


def current_mode(mode: str | None = None, batch_id: str | None = None, organization_id: str | None = None) -> Decision:
    """The mode that a batch gets, or the next one where none is named, and what chose it.

    Raises InvalidInputError for a mode that is none.
    """
    settings = Settings.load()
    # Before the store is opened, which makes its file.
    decide(mode, settings.workflow_mode, None, None)
    asker = Asker(batch_id, organization_id) if batch_id is not None else None
    return decided(mode, settings, Store.from_settings(settings), asker)


def set_mode(mode: str | None, percent: float | None = None, organization_id: str | None = None) -> None:
    """Stores the mode for every process, from the next batch on; None takes it away. Needs no Prefect.

    Args:
        mode: ``legacy``, ``engine`` or ``shadow``. For everybody it ends every ramp.
        percent: The share of batches that the engine serves, 0 to 100, chosen by batch id; the others keep the mode that is
            stored.
        organization_id: Whose batches alone; the share is all of them, or none under ``legacy``, unless ``percent`` says.
    """
    if mode is not None:
        parse_mode(mode)
    if mode != Mode.ENGINE and percent is not None:
        raise InvalidInputError([Problem("--percent", percent, f"is the engine's share, not one of {mode}; set engine")])
    if organization_id is not None:
        if mode not in (Mode.ENGINE, Mode.LEGACY) or not organization_id:
            raise InvalidInputError([Problem("--organization", organization_id, "goes with engine or legacy, and a name")])
        percent = percent if percent is not None else 100.0 if mode == Mode.ENGINE else 0.0
    record.set_mode(Store.from_settings().database, mode, percent, organization_id)


def demote(reason: str | None, hand_over: bool = False) -> None:
    """Sends every batch to legacy, from the next one on, whatever callers, environment and switch ask for; None ends that.

    The reason stands at every batch that it moved. With ``hand_over`` legacy also takes what the engine has in work. Raises
    InvalidInputError for an empty reason.
    """
    if reason is not None and not reason.strip():
        raise InvalidInputError([Problem("REASON", reason, "say why; it stands at every batch that goes to legacy for it")])
    database = Store.from_settings().database
    if reason is None:
        record.restore(database, "ended by a program")
    else:
        record.demote(database, reason, hand_over=hand_over)


def _run_to_result(params: BatchParams, mode: str | None, stop: StopRequest | None = None) -> BatchResult:
    context = _run(params, mode, stop)
    return context.store.result(context.batch_id)


def _run(request: Request, mode: str | None, stop: StopRequest | None = None) -> BatchContext:
    batch_id = request.batch_id or new_id("knowledge_batch_execution")
    context = BatchContext.open(batch_id, mode, stop, organization_id=request.organization_id)
    claim = context.store.claim(request, context.decision, context.batch_id, shadow_requests.add_for)
    if claim is not None:
        serve(context, claim)
    return context


def _resume(batch_id: str, mode: str | None) -> Store:
    context = BatchContext.open(batch_id, mode, operation="batch_run_dispatch")
    wait_for_giving_up(batch_id)
    serve(context, context.store.resume(batch_id, context.decision, shadow_requests.add_for))
    return context.store


def _has_ended(state: BatchState) -> bool:
    return isinstance(state, Completed | Failed | Cancelled)


def _serve_unattended(context: BatchContext, claim: Claim) -> None:
    try:
        serve(context, claim)
    except Exception:
        # Nobody waits for this thread; the rows tell, and the log says why.
        log.exception("batch %s ended early; go on with knowledge-batch resume %s", claim.batch_id, claim.batch_id)
