"""The old orchestrator: three policies as loops over a bounded thread pool, then resolution, then the end."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from compat.contracts import Extractor, FailurePolicy
from compat.recording.recorder import Outcome, Recorder
from legacy.activity import run_activity
from tasks.extraction import resolve


def run(recorder: Recorder, extractor: Extractor) -> None:
    """Works through what is missing of a batch and ends it.

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
        if run_activity(recorder, document_id, extractor) in ("failed", "stopped"):
            return


def _retry_failed(recorder: Recorder, extractor: Extractor) -> None:
    for _ in range(recorder.policy.attempts):
        pending = recorder.pending()
        if not pending or recorder.stopping:
            return
        _each(recorder, pending, partial(recorder.attempt, extractor=extractor))


_POLICIES = {
    FailurePolicy.CONTINUE: _continue_on_failure,
    FailurePolicy.ABORT_ALL: _abort_all,
    FailurePolicy.RETRY_FAILED: _retry_failed,
}


def _each(recorder: Recorder, document_ids: Iterable[str], work: Callable[[str], Outcome]) -> None:
    """Works on up to `concurrency` documents at a time. An error of the machinery stops the rest and is raised."""
    with ThreadPoolExecutor(recorder.claim.config.concurrency, thread_name_prefix="legacy") as pool:
        futures = [pool.submit(work, document_id) for document_id in document_ids]
        try:
            for future in futures:
                future.result()
        except BaseException:
            recorder.stop()
            raise
