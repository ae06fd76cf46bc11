"""One document's extraction as a message: a text goes there, bytes come back, whichever way they travel."""

import pickle
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from compat.contracts import ExtractionResult, Extractor, PipelineConfig
from compat.errors import Infrastructure, InvalidInputError, Problem
from compat.settings import Settings
from compat.stored_errors import ReplayedError, StoredError


class ExtractorProcessDiedError(RuntimeError):
    """The process that extracted a document ended without an answer: that document's failed attempt, and no other's."""


class ClusterUnavailableError(Infrastructure):
    """The cluster that documents are to be extracted on can't be reached. ``hint`` says how to start one."""

    address: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"The cluster at KNOWLEDGE_CLUSTER={self.address} can't be reached: {self.reason}; {self.hint}"


class Place(Protocol):
    """Where documents are extracted, each once: whoever answers for a place repeats nothing by itself."""

    def ask(self, text: str, ontology: str, config: PipelineConfig) -> bytes:
        """Return the answer for one document, as `answer` makes it. Raises ExtractorProcessDiedError."""

    def close(self) -> None:
        """Let go of the place; the batch has ended."""


class RemoteExtractor:
    """An extractor that runs elsewhere."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the graph of one text, as the extractor does. Raises its error as a ReplayedError."""
        answer = self._place.ask(text, ontology_content, config)
        if answer[:1] == b"E":
            # Pickled by `answer`, in a process that runs our package.
            raise ReplayedError(pickle.loads(answer[1:]))  # noqa: S301
        return ExtractionResult.model_validate_json(answer[1:])

    def close(self) -> None:
        """Let go of the place where it runs."""
        self._place.close()


def answer(load: Callable[[], Extractor], text: str, ontology: str, config: PipelineConfig) -> bytes:
    """Return ``R`` and the result as JSON, or ``E`` and a stored error. Never raises."""
    from compat.recording.output import checked

    try:
        # As in a thread, before JSON has made null of NaN.
        return b"R" + checked(load().run(text, ontology, config), text).json.encode()
    except BaseException as error:
        # Also SystemExit and its like: raised by an extractor, they fail its document.
        return b"E" + pickle.dumps(StoredError.of(error))


# --- In a worker of a cluster -----------------------------------------------------------------------------------------

# By the pickled settings: a worker serves many batches, and an extractor may take seconds to load.
_EXTRACTORS: dict[bytes, Extractor] = {}
_LOADING = threading.Lock()


def for_workers(settings: Settings) -> bytes:
    """Return the settings as a worker gets them: without the database's address and the model's key, which it doesn't need."""
    return pickle.dumps(settings.model_copy(update={"database_url": None, "llm_api_key": None}))


def answer_in_worker(settings: bytes, import_path: list[str], text: str, ontology: str, config: PipelineConfig) -> bytes:
    """Return the answer for one document, in a worker that runs our package."""
    from tasks.extraction import load_extractor

    def load() -> Extractor:
        with _LOADING:
            if settings not in _EXTRACTORS:
                # Behind what the worker has: the caller's own modules are found where they lie on the worker's machine as well.
                sys.path.extend(each for each in import_path if each not in sys.path)
                # Pickled by `for_workers`.
                loaded: Settings = pickle.loads(settings)  # noqa: S301
                _EXTRACTORS[settings] = load_extractor(loaded.extractor, loaded)
            return _EXTRACTORS[settings]

    return answer(load, text, ontology, config)


def cluster_address(settings: Settings, how: str) -> str:
    """Return the cluster's address. Raises InvalidInputError where none is set; ``how`` says how to start one."""
    if settings.cluster is None:
        advice = f"KNOWLEDGE_RUN_ON={settings.run_on} needs the address of a cluster; {how}"
        raise InvalidInputError([Problem("KNOWLEDGE_CLUSTER", None, advice)])
    return settings.cluster


def library(settings: Settings, name: str) -> Any:
    """Return the module of a cluster's library. Raises InvalidInputError where the extra isn't installed."""
    try:
        return import_module(name)
    except ImportError:
        advice = f"it isn't installed; pip install 'knowledge-batch[{settings.run_on}]'"
        raise InvalidInputError([Problem("KNOWLEDGE_RUN_ON", settings.run_on, advice)]) from None
