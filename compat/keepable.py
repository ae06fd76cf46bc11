"""Values as JSON, every database and a line of text can keep them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite

# The largest whole number that every reader of the JSON can hold: 64 bits with a sign.
LARGEST = 2**63 - 1
# Levels of lists and mappings that are kept as such.
DEPTH = 5
# What steers a terminal, begins a new line, or turns the direction of what follows.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def keepable_text(text: str) -> str:
    """Return the text with NUL and lone surrogates, which no database keeps, written as escapes."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """Return a foreign text as one line that can't control a terminal: control characters are written as escapes."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), keepable_text(text))


def neutral_json(text: str) -> str:
    """Return JSON that means the same and can't control a terminal: JSON itself leaves some control characters as they are."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
