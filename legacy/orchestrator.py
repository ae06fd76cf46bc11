"""The old orchestrator: three policies as loops over a bounded thread pool, then resolution, then the end."""

from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

from compat.contracts import Extractor, FailurePolicy
from compat.policy import next_round
from compat.recording.recorder import Outcome, Place, Recorder, Started
from legacy.activity import run_activity
from tasks.extraction import resolve


def run(recorder: Recorder, extractor: Extractor) -> None:
    """Work through what is missing of a batch and end it.

    Raises BatchInfrastructureError or LeaseLostError where the store fails or another one holds the batch.
    """
    recorder.begin()
    _POLICIES[recorder.claim.config.failure_policy](recorder, extractor)
    if recorder.claim.config.enable_entity_resolution and not recorder.stopping:
        recorder.resolve(resolve)
    recorder.finish()


def _continue_on_failure(recorder: Recorder, extractor: Extractor) -> None:
    _each(recorder, recorder.pending(), partial(run_activity, recorder, extractor=extractor))


def _abort_all(recorder: Recorder, extractor: Extractor) -> None:
    if recorder.any_failed():
        return
    for document_id in recorder.pending():
        # In a thread, as under the other policies: signals and cancels arrive in this one, and what an extractor raises doesn't.
        if _each(recorder, [document_id], partial(run_activity, recorder, extractor=extractor)) in ("failed", "stopped"):
            return


def _retry_failed(recorder: Recorder, extractor: Extractor) -> None:
    for _ in range(recorder.policy.attempts):
        pending = recorder.pending()
        if not pending or recorder.stopping:
            return
        _each(recorder, next_round(pending), lambda _, started, place: recorder.work(started, extractor, place))


_POLICIES = {
    FailurePolicy.CONTINUE: _continue_on_failure,
    FailurePolicy.ABORT_ALL: _abort_all,
    FailurePolicy.RETRY_FAILED: _retry_failed,
}


def _each(
    recorder: Recorder, document_ids: Collection[str], work: Callable[[str, Started | Outcome, Place], Outcome]
) -> Outcome | None:
    """Work on up to `concurrency` documents at a time; of a single one return the outcome.

    An error of the machinery stops the rest and is raised.
    """
    line, in_order = deque(document_ids), Lock()

    def work_on() -> Outcome | None:
        outcome = None
        place = Place(recorder.start, in_order, lambda _: line.popleft() if line else None, line.appendleft)
        try:
            for document_id, started in place:
                outcome = work(document_id, started, place)
        except BaseException:
            recorder.stop()
            raise
        return outcome

    places = min(recorder.claim.config.concurrency, len(line))
    with ThreadPoolExecutor(places or 1, thread_name_prefix="legacy") as pool:
        futures = [pool.submit(work_on) for _ in range(places)]
        try:
            outcomes = [future.result() for future in futures]
        except BaseException:
            recorder.stop()
            raise
    return outcomes[0] if outcomes else None
