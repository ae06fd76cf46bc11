"""The old activity wrapper: one document, its own retry loop, and replay of what is completed."""

from compat.contracts import Extractor
from compat.recording.recorder import Outcome, Place, Recorder, Started


def run_activity(recorder: Recorder, document_id: str, started: Started | Outcome, place: Place, extractor: Extractor) -> Outcome:
    """Try a document, whose first attempt has begun, until it has an outcome; waits as the policy's owner `activity` does.

    A document that has its outcome already is replayed from it: the extractor isn't called.
    """
    outcome = recorder.work(started, extractor, place)
    for delay in recorder.policy.delays:
        if outcome != "unfinished":
            return outcome
        recorder.pause(delay)
        outcome = recorder.attempt(document_id, extractor)
    return outcome
