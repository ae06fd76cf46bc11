"""Where a sentence contains words of the properties' labels, on which relations are built."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rdflib import XSD

from tasks.extraction.rules.lexicon import Cue, Lexicon, Phrase
from tasks.extraction.rules.words import DETERMINERS
from tasks.extraction.sentences import Sentence
from tasks.extraction.values import Value

# Words of one phrase may stand this far apart in a sentence.
_REACH = 4
# A smaller part of a phrase than this, by the weights of its words, doesn't count as the phrase.
_MIN_STRENGTH = 0.6


@dataclass(frozen=True, slots=True)
class Argument:
    """What may be a subject or an object: a name, or a value. Tokens ``first`` to ``last`` of its sentence.

    ``possessive``: it is an owner (``its``, ``Vey's``). ``spoken`` is false for a pronoun, which is not a name.
    """

    name: str
    first: int
    last: int
    start: int
    end: int
    value: Value | None = None
    possessive: bool = False
    spoken: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase found at the tokens ``first`` to ``last``. ``strength`` up to 1; ``converse`` as in ``Cue``."""

    phrase: Phrase
    strength: float
    first: int
    last: int
    converse: bool


def find_hits(sentence: Sentence, arguments: Sequence[Argument], lexicon: Lexicon) -> list[Hit]:
    """Return the phrases in a sentence, outside its names, in a fixed order."""
    inside = {index for argument in arguments if argument.spoken for index in range(argument.first, argument.last + 1)}
    years = {argument.first for argument in arguments if argument.value is not None and argument.value.datatype == str(XSD.gYear)}
    places: dict[int, list[tuple[int, Cue]]] = defaultdict(list)
    for index, token in enumerate(sentence.tokens):
        before_noun = index in years and index > 0 and sentence.tokens[index - 1].lower in DETERMINERS
        if index not in inside or before_noun:
            by = index + 1 < len(sentence.tokens) and sentence.tokens[index + 1].lower == "by"
            keys = ["<year>"] if before_noun else [token.stem, f"{token.stem}+by"] if by else [token.stem]
            for key in keys:
                for cue in lexicon.cues.get(key, ()):
                    places[cue.phrase].append((index, cue))
    hits = []
    for number, found in places.items():
        phrase = lexicon.phrases[number]
        for group in _clusters(found):
            best: dict[int, float] = {}
            for _, cue in group:
                best[cue.slot] = max(best.get(cue.slot, 0.0), cue.strength)
            strength = sum(phrase.weights[slot] * weight for slot, weight in best.items())
            if strength >= _MIN_STRENGTH:
                hits.append(Hit(phrase, strength, group[0][0], group[-1][0], any(cue.converse for _, cue in group)))
    return hits


def _clusters(found: Sequence[tuple[int, Cue]]) -> Iterator[list[tuple[int, Cue]]]:
    """Cues near each other; a repeated word begins a new group."""
    group: list[tuple[int, Cue]] = []
    for index, cue in found:
        if group and (index - group[-1][0] > _REACH or any(cue.slot == other.slot and index != at for at, other in group)):
            yield group
            group = []
        group.append((index, cue))
    yield group
