"""The attempt that an extractor is working on, if it asks: its batch and document, whether to stop, and its progress."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


def _never() -> bool:
    return False


def _nobody(stage: str, progress: float) -> None:
    pass


@dataclass(frozen=True)
class CurrentAttempt:
    """One attempt at one document.

    ``holder`` is the token of the run that has the batch. ``stopping`` says whether the batch is to end: an extractor that
    takes long looks at it, and raises ExtractionStoppedError. ``progress`` takes a stage and how much of it is done, 0 to 1.
    """

    batch_id: str = ""
    document_id: str = ""
    holder: str = ""
    generation: int = 0
    attempt: int = 1
    concurrency: int = 1
    stopping: Callable[[], bool] = _never
    progress: Callable[[str, float], None] = _nobody


# Set around ``Extractor.run``, in its thread. A context variable and not an argument: the plug stays
# run(text, ontology_content, config), and an extractor that doesn't ask needn't know.
CURRENT: ContextVar[CurrentAttempt] = ContextVar("work", default=CurrentAttempt())  # noqa: B039
