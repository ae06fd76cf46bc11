"""A sentence with its names and values in order, as the rules look around in it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.extraction.rules.cues import Argument, Hit
from tasks.extraction.rules.entities import Evidence
from tasks.extraction.rules.words import (
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    IRREGULAR_VERBS,
    KIND_OF_WORD,
    LEADING,
    PLACE_PREPOSITIONS,
    PREPOSITIONS,
    TITLES,
)
from tasks.extraction.sentences import Sentence, Token

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

    def is_in_place(self, argument: Argument) -> bool:
        """Return whether an argument stands where a place would: ``in Kelder Haven``."""
        return argument.first > 0 and self.sentence.tokens[argument.first - 1].lower in PLACE_PREPOSITIONS | {"from"}

    def is_whole(self, argument: Argument, hit: Hit) -> bool:
        """Return whether a name isn't a part of a longer one, or of a noun: ``Piece`` of One Piece, ``Linux`` of Linux kernel.

        The noun may be the phrase: ``Harrier`` of the Harrier captain.
        """
        if argument.value is not None or not argument.spoken:
            return True
        tokens = self.sentence.tokens
        before, after = tokens[: argument.first][-2:], tokens[argument.last + 1 : argument.last + 4]
        return not (before and _continues(before, argument.first)) and (
            not after or hit.first == argument.last + 1 or not _is_continued(argument, after, before)
        )

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


def _continues(before: Sequence[Token], place: int) -> bool:
    """Return whether the words before a name belong to it."""
    last = before[-1]
    if last.lower in ("'s", "’s"):
        return len(before) > 1 and last.start > before[0].end  # "God 's Country"
    if last.text in ":/":
        return len(before) > 1 and (before[0].is_capital or before[0].text.isdigit())
    opens = place == 1 and (last.lower in LEADING | PREPOSITIONS or last.lower in KIND_OF_WORD)
    return last.is_word and (last.is_capital or last.text[0].isdigit()) and last.lower not in TITLES and not opens


def _is_continued(argument: Argument, after: Sequence[Token], before: Sequence[Token]) -> bool:
    """Return whether the words after a name belong to it, or it to them."""
    word, capital = after[0], len(after) > 1 and after[1].is_capital
    spaced = word.start > argument.end
    if not word.is_word:
        if spaced:
            # "Hoodwinked !", "Ups ' n Downs", "God 's Country", "Nadir "RedOne" Khayat"
            return word.text[0] in "!:/'’\"“"
        # "Hoodwinked!", "Resident Evil: Damnation", "Howlin' Wolf", and a letter that was stored wrongly: "SÃ¶ren"
        more = capital or (len(after) > 1 and after[1].text[0].isdigit())
        return word.text == "!" or (word.text in ":/'’" and more) or not (word.text.isascii() or word.text[0] in "’”»–—…")
    if word.is_capital or word.text[0].isdigit():
        return True  # "Best American Poetry 2003"
    if word.lower in ("and", "to", "with") and len(after) > 2 and after[1].lower == "the" and after[2].is_capital:
        # "Charlie and the Chocolate Factory", but not "the Harrier and the Petrel".
        return word.lower != "and" or not before or before[-1].lower not in ("the", ",")
    small = word.text.islower() and word.lower not in FUNCTION_WORDS | PREPOSITIONS | COPULAS | IRREGULAR_VERBS
    return small and not word.lower.endswith(("ed", "ing", "s", "ly"))
