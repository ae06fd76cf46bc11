"""The prompts, a file a version. A prompt that changes gets a new file, so that no answer to the old one counts for it."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class Prompt:
    """Instructions for a model. ``version`` is the file's name."""

    version: str
    text: str


@lru_cache
def prompt(version: str) -> Prompt:
    """Return the prompt of a version, e.g. ``extract.1``."""
    return Prompt(version, resources.files(__name__).joinpath(f"{version}.md").read_text(encoding="utf-8"))
