"""The Prefect task that resolves entities across a batch's documents."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from compat.recording.recorder import Recorder
from tasks.extraction import resolve


# Never retried: a failed resolution counts as nothing merged.
@task(name="resolve-entities", retries=0, cache_policy=NO_CACHE, persist_result=False)
def resolve_entities(recorder: Recorder) -> int:
    """Merge the batch's entities. Return how many were merged into another."""
    return recorder.resolve(resolve)
