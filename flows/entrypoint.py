"""The public functions: run, start, follow, cancel and resume batches. Imports Prefect only once the engine is asked for."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread, current_thread
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
    checked,
)
from compat.cutover import record
from compat.errors import InvalidInputError, Problem
from compat.ids import document_execution_id, new_id
from compat.modes import Decision, Mode, decide, parse_mode
from compat.private import wait_at_exit, wait_no_more
from compat.recording.giving_up import wait_for_giving_up
from compat.recording.lease import StopRequest
from compat.settings import Settings
from compat.status import RowStatus
from compat.store import Claim, Store, events, shadow_requests
from compat.store.claims import cancel_again
from compat.store.failures import infrastructure
from compat.store.intake import Request
from flows.context import BatchContext, decided, open_store

log = logging.getLogger("knowledge_batch")

# Batches in one list: no database counts further.
MOST = 2**31 - 1


def run_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchResult:
    """Run a batch to its end and return what came of every document.

    Args:
        params: The request; a mapping may use the JSON names (camelCase) or the attributes'.
        mode: ``legacy``, ``engine`` or ``shadow``; without one the environment, the stored switch, then legacy decide.

    Returns:
        The result, even if every document failed. For a batch that is already completed, the stored result.

    Raises:
        InvalidInputError: A field, the mode or a setting is wrong; nothing was written.
        BatchAlreadyRunningError: Another run holds this batch id.
        InvalidStateTransitionError: The id belongs to a batch that has other input, failed (resume it) or was cancelled.
        BatchInfrastructureError: The database or Prefect failed. Finished documents are stored; resume the batch for the rest.
    """
    return _run_to_result(BatchParams.parse(params), mode)


async def arun_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchResult:
    """Run a batch in a thread of its own, for callers in an event loop. Arguments, result and errors are those of ``run_batch``.

    If the awaiting task is cancelled (a timeout, Ctrl-C), no further document starts; those in work finish, then the
    cancellation is raised. The batch has then failed as interrupted, and ``resume_batch`` goes on with it. To end a batch for
    good, call ``cancel_batch``.
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
        # Reads the error, so that asyncio doesn't warn that it was never retrieved.
        work.exception()
        raise


def run_request(request: Request, mode: str | None = None) -> BatchState:
    """Run a batch whose documents needn't fit into memory, and return its final state. Results stay in the store.

    Args:
        request: From ``flows.sources.load(...).request(...)``, or ``BatchParams``.
        mode: As for ``run_batch``.

    Raises what ``run_batch`` raises.
    """
    context = _run(request, mode)
    return context.store.state(context.batch_id)


def start_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchStarted:
    """Start a batch in a thread and return at once. The interpreter waits for the thread at exit.

    Raises what ``run_batch`` raises before the first document. Later failures show in ``get_status``.
    """
    params = BatchParams.parse(params)
    batch_id = params.batch_id or new_id("knowledge_batch_execution")
    context = BatchContext.open(batch_id, mode, params.organization_id)
    claim = context.store.claim(params, context.decision, context.batch_id, shadow_requests.add_for)
    if claim is not None:
        thread = Thread(target=_serve_unattended, args=(context, claim), name=f"batch {claim.batch_id}")
        wait_at_exit(thread.join)
        thread.start()
    return BatchStarted(batch_id=context.batch_id, total_documents=len(params.documents))


def resume_batch(batch_id: str, mode: str | None = None) -> BatchResult:
    """Work through what is missing of a failed or interrupted batch, in any mode, and return the whole result.

    Raises BatchNotFoundError, BatchAlreadyRunningError, InvalidStateTransitionError for a completed or cancelled batch, and
    what ``run_batch`` raises.
    """
    return _resume(batch_id, mode).result(batch_id)


def resume_request(batch_id: str, mode: str | None = None) -> BatchState:
    """Resume a batch whose result needn't fit into memory, and return its final state. Raises what ``resume_batch`` raises."""
    return _resume(batch_id, mode).state(batch_id)


def get_status(batch_id: str) -> BatchState:
    """Return a batch's state. A batch whose process died is Failed once its lease has run out. Raises BatchNotFoundError."""
    return open_store(_named(batch_id), "batch_get_status").state(batch_id)


def subscribe(batch_id: str, follow: bool = False) -> Iterator[BatchEvent]:
    """Yield the batch's stored events from the first on, and with ``follow`` new ones until the terminal event.

    Following also ends if the batch's process has died, since no further event will come. Raises BatchNotFoundError.
    """
    store = open_store(_named(batch_id), "batch_get_status")
    store.state(batch_id)
    return events.follow(store.database, batch_id, lambda: follow and not _has_ended(store.state(batch_id)))


def document_progress(batch_id: str, document_id: str) -> list[ActivityProgress]:
    """Return the progress of one document's pipeline so far: an entry as each attempt starts, and one as it ends.

    Raises BatchNotFoundError, and WorkflowNotFoundError where the document hasn't been started or isn't in the batch.
    """
    store = open_store(_named(batch_id), "batch_get_status")
    store.state(batch_id)
    _named(document_id, "document_id")
    with infrastructure(batch_id, "batch_get_status"):
        return events.document_progress(store.database, document_execution_id(batch_id, document_id))


def cancel_batch(batch_id: str) -> BatchCancelled:
    """Cancel a batch: no further document starts; those in work finish and are recorded.

    Raises BatchNotFoundError, or InvalidStateTransitionError if the batch has ended.
    """
    open_store(_named(batch_id), "batch_run_dispatch", cancel_again(batch_id)).cancel(batch_id)
    return BatchCancelled(batch_id=batch_id)


def list_batches(limit: int = 50) -> list[BatchSummary]:
    """Return at most ``limit`` batches, the newest first."""
    if not isinstance(limit, int) or not 0 <= limit <= MOST:
        raise InvalidInputError([Problem("limit", limit, f"is not a number of batches; give a whole number from 0 to {MOST}")])
    return Store.from_settings().summaries(limit)


def current_mode(mode: str | None = None, batch_id: str | None = None, organization_id: str | None = None) -> Decision:
    """Return the mode of a batch, or of the next one if none is named, and what chose it.

    Raises InvalidInputError for an unknown mode.
    """
    settings = Settings.load()
    for name, value in (("batch_id", batch_id), ("organization_id", organization_id)):
        if value is not None:
            _named(value, name)
    # Before the store is opened, which makes its file.
    decide(mode, settings.workflow_mode, None, None)
    return decided(mode, settings, Store.from_settings(settings), batch_id, organization_id)


def set_mode(mode: str | None, percent: float | None = None, organization_id: str | None = None) -> None:
    """Store the mode for every process, from the next batch on; None removes it. Needs no Prefect.

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
        checked("id", "--organization", organization_id)
        if mode not in (Mode.ENGINE, Mode.LEGACY) or not organization_id:
            raise InvalidInputError([Problem("--organization", organization_id, "goes with engine or legacy, and a name")])
        percent = percent if percent is not None else 100.0 if mode == Mode.ENGINE else 0.0
    record.set_mode(Store.from_settings().database, mode, percent, organization_id)


def demote(reason: str | None, hand_over: bool = False) -> None:
    """Send every batch to legacy from the next one on, whatever callers, environment and switch say. None ends the demotion.

    The reason is kept at every batch that it moved. With ``hand_over`` legacy also takes what the engine has in work. Raises
    InvalidInputError for an empty reason.
    """
    if reason is not None and not checked("text", "REASON", reason).strip():
        raise InvalidInputError([Problem("REASON", reason, "say why; it stands at every batch that goes to legacy for it")])
    database = Store.from_settings().database
    if reason is None:
        record.restore(database, "ended by a program")
    else:
        record.demote(database, reason, hand_over=hand_over)


def _run_to_result(params: BatchParams, mode: str | None, stop: StopRequest | None = None) -> BatchResult:
    early: list[BatchResult] = []

    def read_early(context: BatchContext) -> None:
        # What goes wrong here goes wrong again below, where it is the caller's.
        with suppress(Exception):
            # One that failed may be resumed, and its result change, before Prefect is told.
            if context.store.batch(context.batch_id).status in (RowStatus.COMPLETED, RowStatus.CANCELLED):
                early.append(context.store.result(context.batch_id))

    context = _run(params, mode, stop, read_early)
    return early[0] if early else context.store.result(context.batch_id)


def _run(
    params: Request,
    mode: str | None,
    stop: StopRequest | None = None,
    at_the_end: Callable[[BatchContext], None] = lambda _: None,
) -> BatchContext:
    batch_id = params.batch_id or new_id("knowledge_batch_execution")
    context = BatchContext.open(batch_id, mode, params.organization_id, stop)
    claim = context.store.claim(params, context.decision, context.batch_id, shadow_requests.add_for)
    if claim is not None:
        _serve(context, claim, partial(at_the_end, context))
    return context


def _resume(batch_id: str, mode: str | None) -> Store:
    context = BatchContext.open(_named(batch_id), mode, operation="batch_run_dispatch")
    wait_for_giving_up(batch_id)
    _serve(context, context.store.resume(batch_id, context.decision, shadow_requests.add_for))
    return context.store


def _named(value: object, field: str = "batch_id") -> str:
    """Return an id that is looked for, whatever it is made of: what can't be stored isn't found. Raises InvalidInputError."""
    if not isinstance(value, str):
        raise InvalidInputError([Problem(field, value, "is not a text; give the id as one")])
    return value


def _serve(context: BatchContext, claim: Claim, at_the_end: Callable[[], None] = lambda: None) -> None:
    # Here, since `status` and `list` serve nothing.
    from flows.serving import serve

    serve(context, claim, at_the_end)


def _has_ended(state: BatchState) -> bool:
    return isinstance(state, Completed | Failed | Cancelled)


def _serve_unattended(context: BatchContext, claim: Claim) -> None:
    try:
        _serve(context, claim)
    except Exception:
        # Nobody waits for this thread. The batch's row says what happened, and the log says why.
        log.exception("batch %s ended early; go on with knowledge-batch resume %s", claim.batch_id, claim.batch_id)
    finally:
        # A program that starts batches for months keeps nothing of those that have ended.
        wait_no_more(current_thread().join)
