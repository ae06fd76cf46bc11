"""The way in: run a batch, ask after it, follow it, cancel it, resume it. Imports no Prefect until the engine is asked for."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any

import legacy
from compat.contracts import (
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
from compat.errors import BatchInfrastructureError, InvalidInputError, LeaseLostError, Problem
from compat.ids import new_id
from compat.modes import Decision, Mode, decide, parse_mode
from compat.recording.lease import CALL, live_leases
from compat.recording.recorder import Recorder
from compat.settings import Settings
from compat.store import Claim, Store, events
from compat.store.intake import Request
from compat.store.reading import infrastructure
from flows.engine.stops import stops_on_signals
from flows.shadow import submission
from tasks.extraction import load_extractor

log = logging.getLogger("knowledge_batch")

# Seconds between two looks at a batch whose caller has been cancelled.
LOOK_SECONDS = 0.1


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
        InvalidStateTransitionError: The id bears other input, or has failed (resume it) or was cancelled.
        BatchInfrastructureError: Database or Prefect failed; what finished is stored and can be resumed.
    """
    store, batch_id = _run(BatchParams.parse(params), mode)
    return store.result(batch_id)


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
    # Not known by its batch id: another task may be at work on that one.
    call, context = object(), copy_context()
    context.run(CALL.set, call)
    work = asyncio.get_running_loop().run_in_executor(pool, context.run, run_batch, params, mode)
    pool.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            # More than once: it may not have claimed its batch yet.
            for lease in live_leases():
                if lease.call is call:
                    lease.stop("Interrupted: the task that awaited it was cancelled")
            await asyncio.wait([work], timeout=LOOK_SECONDS)
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
    store, batch_id = _run(request, mode)
    return store.state(batch_id)


def start_batch(params: BatchParams | Mapping[str, Any], mode: str | None = None) -> BatchStarted:
    """Starts a batch and returns at once; it goes on in a thread, which the interpreter waits for at its exit.

    Raises what ``run_batch`` raises before the first document. Later failures show in ``get_status``.
    """
    params = BatchParams.parse(params)
    batch_id, settings, store, decision = _prepared(params, mode)
    claim = store.claim(params, decision, batch_id)
    if claim is not None:
        thread = Thread(target=_serve_unattended, args=(store, claim, settings), name=f"batch {claim.batch_id}")
        # At its exit the interpreter shuts thread pools before it waits for threads; a batch needs its
        # pool to the end. This is how the pools themselves ask to be waited for.
        threading._register_atexit(thread.join)  # type: ignore[attr-defined]
        thread.start()
    return BatchStarted(batch_id=batch_id, total_documents=len(params.documents))


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
    return _store(batch_id, "batch_get_status").state(batch_id)


def subscribe(batch_id: str, follow: bool = False) -> Iterator[BatchEvent]:
    """The batch's stored events from the first on; with ``follow`` also those to come, up to the terminal one.

    Following ends as well where the batch's process has died: then no further event will come.
    Raises BatchNotFoundError.
    """
    store = _store(batch_id, "batch_get_status")
    store.state(batch_id)
    return events.follow(store.database, batch_id, lambda: follow and not _has_ended(store.state(batch_id)))


def cancel_batch(batch_id: str) -> BatchCancelled:
    """Cancels a batch: no document starts from now on, those in work finish and are recorded.

    Raises BatchNotFoundError, or InvalidStateTransitionError where the batch has ended.
    """
    _store(batch_id, "batch_run_dispatch").cancel(batch_id)
    return BatchCancelled(batch_id=batch_id)


def list_batches(limit: int = 50) -> list[BatchSummary]:
    """The newest batches first, at most ``limit`` of them."""
    return Store.from_settings().summaries(limit)


def current_mode(mode: str | None = None) -> Decision:
    """The mode that the next batch gets, and the voice that chose it. Raises InvalidInputError for a mode that is none."""
    settings = Settings.load()
    # Before the store is opened, which makes its file.
    decide(mode, settings.workflow_mode, None, None)
    return _decided(mode, settings, Store.from_settings(settings))


def set_mode(mode: str | None) -> None:
    """Stores the mode for every process, from the next batch on; None takes it away. Needs no Prefect."""
    if mode is not None:
        parse_mode(mode)
    Store.from_settings().set_switch("mode", mode)


def demote(reason: str | None) -> None:
    """Sends every batch to legacy, from the next one on, whatever callers, environment and switch ask for; None ends that.

    The reason stands at every batch that it moved. Raises InvalidInputError for an empty one.
    """
    if reason is not None and not reason.strip():
        raise InvalidInputError([Problem("REASON", reason, "say why; it stands at every batch that goes to legacy for it")])
    Store.from_settings().set_switch("demotion", reason)


def _run(request: Request, mode: str | None) -> tuple[Store, str]:
    batch_id, settings, store, decision = _prepared(request, mode)
    claim = store.claim(request, decision, batch_id)
    if claim is not None:
        _serve(store, claim, settings)
    return store, batch_id


def _resume(batch_id: str, mode: str | None) -> Store:
    settings = Settings.load()
    store = _store(batch_id, "batch_create_execution", settings)
    _serve(store, store.resume(batch_id, _decided(mode, settings, store)), settings)
    return store


def _prepared(request: Request, mode: str | None) -> tuple[str, Settings, Store, Decision]:
    """Everything that can be wrong is found here, before anything is written. Makes the batch id where there is none."""
    batch_id = request.batch_id or new_id("knowledge_batch_execution")
    settings = Settings.load()
    # Before the store is opened, which makes its file.
    decide(mode, settings.workflow_mode, None, None)
    load_extractor(settings.extractor)
    store = _store(batch_id, "batch_create_execution", settings)
    return batch_id, settings, store, _decided(mode, settings, store)


def _decided(mode: str | None, settings: Settings, store: Store) -> Decision:
    switches = store.switches()
    return decide(mode, settings.workflow_mode, switches.get("mode"), switches.get("demotion"))


def _store(batch_id: str, operation: str, settings: Settings | None = None) -> Store:
    """The store; a database that can't be reached is an error about the batch that it was opened for."""
    with infrastructure(batch_id, operation):
        return Store.from_settings(settings)


def _has_ended(state: BatchState) -> bool:
    return isinstance(state, Completed | Failed | Cancelled)


def _serve(store: Store, claim: Claim, settings: Settings) -> None:
    """The mode switch: hands the batch to its runtime, and to legacy where the engine's machinery fails."""
    try:
        with stops_on_signals(_stop_embedded_server):
            _note_flow_run(store, claim)
            if claim.mode == Mode.ENGINE:
                reason = _failure_of_engine(claim)
                if reason is None:
                    return
                if not settings.workflow_enable_legacy_rollback:
                    store.fail(claim, reason)
                    raise BatchInfrastructureError(claim.batch_id, "batch_run_dispatch", reason)
                log.error("batch %s: rolled back from engine to legacy: %s", claim.batch_id, reason)
                claim = store.hand_over(claim, Mode.LEGACY, reason)
                _note_flow_run(store, claim)
                _tell_of_rollback(store, claim)
            with Recorder(store, claim, settings.retry_base_seconds, _cancelled_in_prefect()) as recorder:
                legacy.run(recorder, load_extractor(settings.extractor))
        if claim.mode == Mode.SHADOW:
            submission.request(store, claim.batch_id, claim.generation)
    except Exception:
        raise
    except BaseException as error:
        # This process is being stopped: say so now, rather than leave it to the lease.
        # Prefect's Pause, by which a suspended flow run ends, passes here too.
        reason = f"Interrupted by {type(error).__name__}; go on with knowledge-batch resume {claim.batch_id}"
        store.fail(claim, reason)
        raise


def _tell_of_rollback(store: Store, claim: Claim) -> None:
    # Prefect may be what failed, or not even be installed.
    if "flows.engine.extract_batch" in sys.modules:
        sys.modules["flows.engine.extract_batch"].tell_of_rollback(store, claim.batch_id)


def _note_flow_run(store: Store, claim: Claim) -> None:
    """Keeps which flow run the batch is served in, for whoever learns of that run's end."""
    if "flows.engine.flow_runs" in sys.modules:
        flow_run_id = sys.modules["flows.engine.flow_runs"].serving_flow_run()
        if flow_run_id is not None:
            store.note_flow_run(claim, flow_run_id)


def _cancelled_in_prefect() -> Callable[[], bool]:
    """Whether the flow run that a batch is served in was cancelled; outside of one nobody can."""
    if "flows.engine.flow_runs" not in sys.modules:
        return lambda: False
    watch: Callable[[], bool] = sys.modules["flows.engine.flow_runs"].cancel_watch()
    return watch


def _stop_embedded_server() -> None:
    # Only where the engine was loaded is there a server to stop.
    if "flows.engine.embedded" in sys.modules:
        sys.modules["flows.engine.embedded"].stop_embedded_server()


def _failure_of_engine(claim: Claim) -> str | None:
    """Runs the engine. Why its machinery failed, or None where the batch has ended."""
    try:
        from flows.engine import extract_batch as batch

        batch.run(claim)
    except (LeaseLostError, BatchInfrastructureError):
        # Another one has the batch, or the store is away: legacy couldn't go on either.
        raise
    except Exception as error:
        log.debug("batch %s: the engine failed", claim.batch_id, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return None


def _serve_unattended(store: Store, claim: Claim, settings: Settings) -> None:
    try:
        _serve(store, claim, settings)
    except Exception:
        # Nobody waits for this thread; the rows tell, and the log says why.
        log.exception("batch %s ended early; go on with knowledge-batch resume %s", claim.batch_id, claim.batch_id)
