"""Where a model's quotes stand in the text: models copy words, and get spaces, quotation marks and accents a little wrong."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

_SAME = str.maketrans(
    {**dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″«»", '"'), **dict.fromkeys("‐‑‒–—−", "-"), "…": "..."}
)
_SPACE = re.compile(r"\s+")

EXACT, NORMALISED = 0.9, 0.8


@dataclass(frozen=True)
class Place:
    """A stretch of the text: ``start`` to ``end`` in characters, and how surely it is what was quoted."""

    start: int
    end: int
    confidence: float


class Quotable:
    """A text in which quotes are looked up."""

    def __init__(self, text: str) -> None:
        self.text = text

    def find(self, quote: str) -> Place | None:
        """Return the first place of the quote: exact, else with spaces, quotation marks and Unicode form normalised."""
        quote = quote.strip()
        if not quote:
            return None
        start = self.text.find(quote)
        return Place(start, start + len(quote), EXACT) if start >= 0 else self._find_normalised(quote)

    def find_all(self, name: str) -> list[Place]:
        """Return every place where a name is a word of its own; else the first place that reads like it."""
        name = name.strip()
        if not name:
            return []
        found = []
        start = self.text.find(name)
        while start >= 0:
            end = start + len(name)
            is_word = not (self._goes_on(start - 1) or self._goes_on(end))
            if is_word:
                found.append(Place(start, end, EXACT))
            start = self.text.find(name, end if is_word else start + 1)
        if found:
            return found
        first = self.find(name)
        return [first] if first else []

    def _goes_on(self, position: int) -> bool:
        """Return whether a word's letter, digit or underscore stands there."""
        letter = self.text[position] if 0 <= position < len(self.text) else " "
        return letter.isalnum() or letter == "_"

    def _find_normalised(self, quote: str) -> Place | None:
        wanted = _SPACE.sub(" ", _normal(quote)).strip()
        text, origins = self._normalised
        at = text.find(wanted) if wanted else -1
        if at < 0:
            return None
        return Place(origins[at][0], origins[at + len(wanted) - 1][1], NORMALISED)

    @cached_property
    def _normalised(self) -> tuple[str, list[tuple[int, int]]]:
        """The text normalised, and for each of its characters the stretch of the text that it comes from."""
        letters: list[str] = []
        origins: list[tuple[int, int]] = []
        position = 0
        while position < len(self.text):
            end = position + 1
            # A letter and its accents are normalised together.
            while end < len(self.text) and unicodedata.combining(self.text[end]):
                end += 1
            for letter in _normal(self.text[position:end]):
                if not letter.isspace():
                    letters.append(letter)
                    origins.append((position, end))
                elif letters and letters[-1] == " ":
                    origins[-1] = (origins[-1][0], end)
                else:
                    letters.append(" ")
                    origins.append((position, end))
            position = end
        return "".join(letters), origins


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_SAME)).translate(_SAME)
