"""A sentence with its names and values in order, as the rules look around in it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.extraction.rules.cues import Argument, Hit
from tasks.extraction.rules.entities import Evidence
from tasks.extraction.rules.words import DETERMINERS, FUNCTION_WORDS, PREPOSITIONS
from tasks.extraction.sentences import Sentence

# Arguments tried on each side of a cue: a long sentence must not cost more than its length.
_NEAREST = 4


@dataclass(frozen=True, slots=True)
class Scene:
    """A sentence with its arguments in order, the token that each begins at, and the one that the sentence is about."""

    sentence: Sentence
    arguments: Sequence[Argument]
    firsts: Sequence[int]
    about: Argument | None
    evidence: Evidence

    def before(self, index: int) -> list[Argument]:
        """Return the nearest arguments before a token, and the one that the sentence is about."""
        at = bisect_left(self.firsts, index)
        near = list(self.arguments[max(0, at - _NEAREST) : at])
        distant = self.about is not None and near and self.about.first < near[0].first
        return [self.about, *near] if distant and self.about else near

    def after(self, index: int) -> list[Argument]:
        """Return the nearest arguments after a token."""
        at = bisect_left(self.firsts, index + 1)
        return list(self.arguments[at : at + _NEAREST])

    def between(self, argument: Argument, hit: Hit) -> int:
        """Return how many names stand between an argument and a phrase."""
        low, high = (argument.last, hit.first) if argument.last < hit.first else (hit.last, argument.first)
        inside = self.arguments[bisect_left(self.firsts, low + 1) : bisect_left(self.firsts, high)]
        return sum(each.value is None and not self._is_adjective(each) and not self._is_bracketed(each) for each in inside)

    def _is_bracketed(self, argument: Argument) -> bool:
        marks = [token.text for token in self.sentence.tokens[: argument.first] if token.text in "()"]
        return marks[-1:] == ["("]

    def _is_adjective(self, argument: Argument) -> bool:
        """Return whether a name is a part of a noun: ``a 1960 Merrie Melodies cartoon``."""
        tokens = self.sentence.tokens
        before, after = tokens[argument.first - 1], tokens[min(argument.last + 1, len(tokens) - 1)]
        leads = argument.first > 0 and (before.lower in DETERMINERS or before.text.isdigit())
        return leads and after.text.isalpha() and after.text.islower() and after.lower not in PREPOSITIONS | FUNCTION_WORDS

    def describes(self, argument: Argument) -> bool:
        """Return whether an argument only says of what kind the name after it is: ``American`` in American singer Ada Lind."""
        following = next(iter(self.after(argument.last)), None)
        tokens = self.sentence.tokens
        governed = argument.first > 0 and tokens[argument.first - 1].lower in PREPOSITIONS | DETERMINERS
        if not governed or following is None or argument.value is not None or following.value is not None:
            return False
        between = tokens[argument.last + 1 : following.first]
        return 0 < len(between) < 6 and all(
            (token.is_word and not token.is_capital and token.lower not in FUNCTION_WORDS) or token.text == "-"
            for token in between
        )

    def at(self, index: int) -> Argument | None:
        """Return the argument that begins at a token."""
        at = bisect_left(self.firsts, index)
        return self.arguments[at] if at < len(self.firsts) and self.firsts[at] == index else None
