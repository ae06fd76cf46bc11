"""Where extractors run: threads of the batch's process by default, processes beside it, or a Dask or Ray cluster."""

from compat.contracts import Extractor
from compat.errors import InvalidInputError, Problem
from compat.settings import Settings
from tasks.extraction import load_extractor
from tasks.run_on.answers import ExtractorProcessDiedError, RemoteExtractor

__all__ = ["ExtractorProcessDiedError", "place_extractor", "release"]


def place_extractor(settings: Settings) -> Extractor:
    """Return a batch's extractor, which runs where ``KNOWLEDGE_RUN_ON`` says; `release` ends it with the batch.

    Raises ExtractorNotFoundError, InvalidInputError for an extractor or a setting that can't be used there, and
    ClusterUnavailableError.
    """
    # Loaded here as well, so that one that can't be is found before anything is written.
    extractor = load_extractor(settings.extractor, settings)
    if settings.run_on == "threads":
        return extractor
    if settings.extractor == "llm":
        advice = "llm waits for its model and keeps the answers in the store, so it runs in threads; set it to threads"
        raise InvalidInputError([Problem("KNOWLEDGE_RUN_ON", settings.run_on, advice)])
    match settings.run_on:
        case "dask":
            from tasks.run_on.dask import DaskCluster

            return RemoteExtractor(DaskCluster(settings))
        case "ray":
            from tasks.run_on.ray import RayCluster

            return RemoteExtractor(RayCluster(settings))
    from tasks.run_on.processes import ExtractorProcesses

    return RemoteExtractor(ExtractorProcesses(settings))


def release(extractor: Extractor) -> None:
    """End the processes of an extractor, or its connection to a cluster, if it has any."""
    if isinstance(extractor, RemoteExtractor):
        extractor.close()
