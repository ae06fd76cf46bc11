"""The mode switch: a claimed batch is handed to its runtime, and to legacy where the engine's machinery fails."""

import logging
from contextlib import suppress

import legacy
from compat.errors import BatchInfrastructureError, HandedOverError, LeaseLostError
from compat.modes import Mode
from compat.recording.giving_up import give_up, go_on
from compat.recording.recorder import Recorder
from compat.store import Claim, Store
from flows import watch
from flows.context import BatchContext
from flows.engine.stops import STOPS
from flows.shadow import submission

log = logging.getLogger("knowledge_batch")


def serve(context: BatchContext, claim: Claim) -> None:
    """Work through what is missing of a batch and end it.

    Raises BatchInfrastructureError where the store fails, or the engine and there is no rollback, and LeaseLostError where
    another run took the batch over.
    """
    failure: Exception | None = None
    served_first = claim.mode
    try:
        with STOPS.heeded(context.stop, context.store, claim):
            _note_flow_run(context, claim)
            if claim.mode == Mode.ENGINE:
                failure = _run_engine(context, claim)
            else:
                _run_legacy(context, claim)
        if failure is not None:
            claim = _roll_back(context, claim, failure)
            with STOPS.heeded(context.stop, context.store, claim):
                _note_flow_run(context, claim)
                _publish_rollback(context.store, claim.batch_id)
                _run_legacy(context, claim)
        if Mode.ENGINE in (claim.mode, served_first):
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
        # This process is being stopped: say so now, rather than leave it to the lease.
        # Prefect's Pause, by which a suspended flow run ends, passes here too.
        give_up(context.store, claim, f"Interrupted by {type(error).__name__}; {go_on(claim.batch_id)}")
        raise


def _note_flow_run(context: BatchContext, claim: Claim) -> None:
    """Keep which flow run the batch is served in, for whoever learns of that run's end."""
    if context.host.flow_run_id is not None:
        context.store.note_flow_run(claim, context.host.flow_run_id)


def _run_legacy(context: BatchContext, claim: Claim) -> None:
    with Recorder(context.store, claim, context.settings.retry_base_seconds, context.host.is_cancelled, context.stop) as recorder:
        legacy.run(recorder, context.extractor)


def _run_engine(context: BatchContext, claim: Claim) -> Exception | None:
    """Return what the engine's machinery failed of, or None where the batch has ended."""
    try:
        from flows.engine import extract_batch

        extract_batch.run(context, claim)
    except (LeaseLostError, BatchInfrastructureError):
        # Another one has the batch, or the store is away: legacy couldn't go on either.
        raise
    except Exception as error:
        log.debug("batch %s: the engine failed", claim.batch_id, exc_info=True)
        return error
    return None


def _roll_back(context: BatchContext, claim: Claim, failure: Exception) -> Claim:
    """Return the claim with which legacy goes on with the batch."""
    reason = f"{type(failure).__name__}: {failure}"
    # A demotion moves every batch, whatever is to happen where the engine fails.
    if isinstance(failure, HandedOverError):
        log.warning("%s", failure)
        return context.store.hand_over(claim, Mode.LEGACY, reason)
    if not context.settings.workflow_enable_legacy_rollback:
        raise BatchInfrastructureError(claim.batch_id, "batch_run_dispatch", reason)
    log.error("batch %s: rolled back from engine to legacy: %s", claim.batch_id, reason)
    return context.store.hand_over(claim, Mode.LEGACY, reason)


def _publish_rollback(store: Store, batch_id: str) -> None:
    # Prefect may be what failed, at its import too, or not even be installed; legacy goes on whatever it is.
    with suppress(Exception):
        from flows.engine import extract_batch

        extract_batch.tell_of_rollback(store, batch_id)
