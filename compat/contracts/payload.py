"""What every payload is: frozen, camelCase in JSON, checked."""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from compat.errors import InvalidInputError, Problem
from compat.keepable import text_of


class Payload(BaseModel):
    """A frozen model whose JSON is camelCase and which refuses keys it doesn't know."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )


def _checked_id(value: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("has a control character; an id is 1 to 200 characters without any")
    return value


def _checked_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("has a NUL character, which databases can't keep; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"isn't Unicode text: a lone surrogate stands at {error.start}; decode the source as UTF-8") from None
    return value


PlainText = Annotated[str, AfterValidator(_checked_text)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked_text), AfterValidator(_checked_id)]
Confidence = Annotated[float, Field(ge=0.0, le=1.0)]


_KINDS = {"id": TypeAdapter[str](Id), "text": TypeAdapter[str](PlainText)}


def checked(kind: Literal["id", "text"], field: str, value: object) -> str:
    """Return an argument unchanged if it is a valid id or text. Raises InvalidInputError that names the field."""
    try:
        return _KINDS[kind].validate_python(value, strict=True)
    except ValidationError as error:
        raise InvalidInputError([Problem(field, value, problem.advice) for problem in problems_of(error)]) from None


def utc_now() -> datetime:
    """Return the time now, with its zone."""
    return datetime.now(UTC)


def problems_of(error: ValidationError) -> list[Problem]:
    """Pydantic's findings as ours: field by its JSON path, value, advice."""
    found = []
    for item in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        advice = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            advice = "unknown key; remove it or mend its spelling"
        elif item["type"] == "missing":
            advice = "is missing; add it"
        value = item["input"]
        if item["type"] == "missing" or not path:
            # The input is the whole object here; its keys tell more than its text.
            value = sorted(map(text_of, value)) if isinstance(value, Mapping) else type(value).__name__
        found.append(Problem(path or "params", value, advice))
    return found
