"""What JSON and every database can keep, made of what they can't."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite

# The largest whole number that every reader of the JSON can hold: 64 bits with a sign.
LARGEST = 2**63 - 1
# Levels of lists and mappings that are kept as such.
DEPTH = 5


def keepable_text(text: str) -> str:
    """Return the text with NUL and lone surrogates, which no database keeps, written as escapes."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: object, render: Callable[[object], str] = str) -> str:
    """Return a value's text in a form that can be kept; a foreign class may fail to give any."""
    try:
        return keepable_text(render(value))
    except BaseException as failure:  # SystemExit too: it would end a batch for the text of one document's error
        return f"its text can't be made ({type(failure).__name__})"


def keepable(value: object, depth: int = DEPTH) -> object:
    """Return the value as JSON; what JSON can't keep, or what nests too deep, becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return keepable_text(value)
    if isinstance(value, int) and abs(value) <= LARGEST:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    if depth and is_dataclass(value) and not isinstance(value, type):
        return {field.name: keepable(getattr(value, field.name), depth - 1) for field in fields(value)}
    if depth and isinstance(value, list | tuple):
        return [keepable(item, depth - 1) for item in value]
    if depth and isinstance(value, Mapping):
        return {text_of(key): keepable(item, depth - 1) for key, item in value.items()}
    return text_of(value)
