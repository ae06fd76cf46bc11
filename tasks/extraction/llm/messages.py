"""What is asked of a model, and what it answers."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What a call is about, for those who read of it."""

    provider: str
    model: str
    stage: str
    chunk: str


@dataclass(frozen=True)
class Schema:
    """A JSON schema, and its text, which is hashed and measured at every call."""

    value: dict[str, Any]
    text: str

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Schema":
        """Return the schema of a value."""
        return cls(value, json.dumps(value, ensure_ascii=False))


@dataclass(frozen=True)
class Request:
    """A call. ``system`` is the same for many calls and comes first, so that providers can cache it."""

    asked: Asked
    system: str
    user: str
    schema: Schema


@dataclass(frozen=True)
class Reply:
    """An answer: its text, or the arguments of the tool that it was handed in by. ``tokens_cached`` are part of ``tokens_in``."""

    answer: str | dict[str, Any]
    truncated: bool
    tokens_in: int
    tokens_out: int
    tokens_cached: int
