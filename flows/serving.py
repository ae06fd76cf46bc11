"""The mode switch: hands a claimed batch to its runtime, and to legacy if the engine fails."""

import logging
from collections.abc import Callable
from contextlib import suppress

from compat.errors import BatchInfrastructureError, HandedOverError, LeaseLostError
from compat.modes import Mode
from compat.recording.giving_up import give_up, go_on
from compat.recording.recorder import Recorder
from compat.store import Claim, Store
from flows import watch
from flows.context import BatchContext
from flows.engine import embedded
from flows.engine.stops import STOPS
from flows.shadow import submission
from tasks.run_on import release

log = logging.getLogger("knowledge_batch")


def serve(context: BatchContext, claim: Claim, at_the_end: Callable[[], None] = lambda: None) -> None:
    """Work through what is missing of a batch and end it.

    ``at_the_end`` is called, and mustn't raise, where the engine's work has ended, in whatever way, while Prefect is told so.

    Raises BatchInfrastructureError if the store fails, or if the engine fails and rollback is switched off, and LeaseLostError
    if another run took the batch over.
    """
    failure: Exception | None = None
    try:
        with STOPS.heeded(context.stop, context.store, claim):
            _note_flow_run(context, claim)
            if claim.mode == Mode.ENGINE:
                failure = _run_engine(context, claim, at_the_end)
            else:
                _run_legacy(context, claim)
        if failure is not None:
            claim = _roll_back(context, claim, failure)
            with STOPS.heeded(context.stop, context.store, claim):
                _note_flow_run(context, claim)
                _publish_rollback(context.store, claim.batch_id)
                _run_legacy(context, claim)
            watch.check_engine_batch(context.store, claim.batch_id)
        if claim.mode == Mode.SHADOW:
            submission.request(context.store, claim.batch_id, claim.generation)
    except LeaseLostError:
        # Another run has it.
        raise
    except BatchInfrastructureError as error:
        give_up(context.store, claim, f"{error.operation} failed: {error.reason}; {go_on(claim.batch_id)}")
        raise
    except Exception as error:
        give_up(context.store, claim, f"{type(error).__name__}: {error}; {go_on(claim.batch_id)}")
        raise
    except BaseException as error:
        # The process is being stopped, or Prefect's Pause ends a suspended flow run. Say so now, and don't leave it to the lease.
        give_up(context.store, claim, f"Interrupted by {type(error).__name__}; {go_on(claim.batch_id)}")
        raise
    finally:
        release(context.extractor)


def _note_flow_run(context: BatchContext, claim: Claim) -> None:
    """Store which flow run serves the batch, so that the run's end can end the batch."""
    if context.host.flow_run_id is not None:
        context.store.note_flow_run(claim, context.host.flow_run_id)


def _run_legacy(context: BatchContext, claim: Claim) -> None:
    # Here, since it imports what resolution needs, which `status` and `list` don't.
    import legacy

    with Recorder(context.store, claim, context.settings.retry_base_seconds, context.host.is_cancelled, context.stop) as recorder:
        legacy.run(recorder, context.extractor)


def _run_engine(context: BatchContext, claim: Claim, at_the_end: Callable[[], None]) -> Exception | None:
    """Return the error that Prefect or the flow failed with, or None if the batch has ended."""

    def meanwhile() -> None:
        # One that isn't over yet is checked when legacy has ended it.
        watch.check_engine_batch(context.store, claim.batch_id)
        at_the_end()

    try:
        if context.host.flow_run_id is None:
            embedded.start_ahead()
        from flows.engine import batch_flow

        batch_flow.run(context, claim, at_the_end=meanwhile)
    except (LeaseLostError, BatchInfrastructureError):
        # Another run has the batch, or the store is away: legacy couldn't go on either.
        raise
    except Exception as error:
        log.debug("batch %s: the engine failed", claim.batch_id, exc_info=True)
        return error
    return None


def _roll_back(context: BatchContext, claim: Claim, failure: Exception) -> Claim:
    """Hand the batch over to legacy. Return legacy's claim."""
    reason = f"{type(failure).__name__}: {failure}"
    # A demotion moves every batch, even with rollback switched off.
    if isinstance(failure, HandedOverError):
        log.warning("%s", failure)
        return context.store.hand_over(claim, Mode.LEGACY, reason)
    if not context.settings.workflow_enable_legacy_rollback:
        raise BatchInfrastructureError(claim.batch_id, "batch_run_dispatch", reason)
    log.error("batch %s: rolled back from engine to legacy: %s", claim.batch_id, reason)
    return context.store.hand_over(claim, Mode.LEGACY, reason)


def _publish_rollback(store: Store, batch_id: str) -> None:
    # Prefect may have failed, even at its import, or not be installed: legacy goes on regardless.
    with suppress(Exception):
        from flows.engine import batch_flow

        batch_flow.publish_rollback(store, batch_id)
