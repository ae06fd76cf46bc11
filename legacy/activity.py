"""The old activity wrapper: one document, its own retry loop, and replay of what is completed."""

from compat.contracts import Extractor
from compat.recording.recorder import Outcome, Recorder


def run_activity(recorder: Recorder, document_id: str, extractor: Extractor) -> Outcome:
    """Tries a document until it has an outcome, waiting as the policy's owner `activity` does.

    A document that has its outcome already is replayed from it: the extractor isn't called.
    """
    outcome = recorder.attempt(document_id, extractor)
    for delay in recorder.policy.delays:
        if outcome != "unfinished":
            return outcome
        recorder.pause(delay)
        outcome = recorder.attempt(document_id, extractor)
    return outcome
