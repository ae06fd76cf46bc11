"""Places in a sentence that may be an end of a relation: many more than are, since the model chooses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.extraction.evaluation import comparable
from tasks.extraction.rules.words import CONNECTORS, COPULAS, DETERMINERS, FUNCTION_WORDS
from tasks.extraction.sentences import Sentence, Token, words_of
from tasks.extraction.values import Value, find_values

# Longest name in tokens, and the longest run of capitals of which every part is tried.
_LONGEST, _WHOLE = 12, 7
_INSIDE = frozenset({*CONNECTORS, ":", "-", ".", "'", "’", "'s", "’s", "!", "/", "–", "#"})
_JOINING = frozenset({*_INSIDE, "and", "or", "to", "in", "on", "for", "at", "from", "with", ","})
# Names that training rows have, in words, by their first word.
Names = dict[str, list[tuple[str, ...]]]
_MARKS = frozenset('"“”«»„,;()')


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``first`` to ``last`` of a sentence, ``document[start:end]``.

    ``key`` is the name as objects are compared, ``words`` as known names are looked up; ``value`` is set for dates and numbers;
    ``origin`` says why the span is tried.
    """

    first: int
    last: int
    start: int
    end: int
    name: str
    key: str
    words: str
    origin: str
    value: Value | None = None

    def overlaps(self, other: "Span") -> bool:
        """Return whether the two have a token in common."""
        return self.first <= other.last and other.first <= self.last


def looked_up(name: str) -> str:
    """Return a name as known names are looked up: its tokens in lower case."""
    return " ".join(words_of(name))


def find_spans(sentence: Sentence, names: Names) -> list[Span]:
    """Return the spans of a sentence in order."""
    tokens = sentence.tokens
    found: dict[tuple[int, int], Span] = {}
    for first, last, origin, value in _tried(sentence, names):
        whole = first <= last < len(tokens) and last - first < _LONGEST
        if whole and (first, last) not in found and not {tokens[first].text, tokens[last].text} & _MARKS:
            start, end = tokens[first].start, tokens[last].end
            text = sentence.text[start - sentence.start : end - sentence.start]
            found[first, last] = Span(first, last, start, end, text, comparable(text), looked_up(text), origin, value)
    return [found[place] for place in sorted(found)]


def _tried(sentence: Sentence, names: Names) -> Iterator[tuple[int, int, str, Value | None]]:
    """Yield first and last token, origin and value; of two at one place the first counts."""
    tokens = sentence.tokens
    begins = {token.start: index for index, token in enumerate(tokens)}
    ends = {token.end: index for index, token in enumerate(tokens)}
    for value in find_values(sentence):
        if value.start in begins and value.end in ends:
            yield begins[value.start], ends[value.end], value.kind, value
    yield from ((*place, "opening", None) for place in _openings(tokens))
    yield from ((*place, "capital", None) for place in _capitals(tokens))
    # Last, so that a span bears this origin only where nothing else finds it.
    lower = tuple(token.lower for token in tokens)
    for index, word in enumerate(lower):
        for words in names.get(word, ()):
            if lower[index : index + len(words)] == words:
                yield index, index + len(words) - 1, "known", None


def _openings(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield what stands before the first copula, bracket or comma: the subject of most sentences."""
    begin = 1 if tokens and tokens[0].lower in DETERMINERS else 0
    for index, token in enumerate(tokens[: _LONGEST + 1]):
        if index > begin and (token.lower in COPULAS or token.text in "(,"):
            yield 0, index - 1
            yield begin, index - 1
            if tokens[index - 1].text in "\"”'":
                yield begin + 1, index - 2
            if token.lower in COPULAS:
                return


def _capitals(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield runs of capitals and numbers with the small words between them, their parts, and runs joined by "and" or a comma."""
    runs: list[list[int]] = []
    for index, token in enumerate(tokens):
        if token.is_word and (token.is_capital or token.text[0].isdigit()):
            gap = [each.lower for each in tokens[runs[-1][-1] + 1 : index]] if runs else ["."] * 9
            if len(gap) <= 3 and all(word in _INSIDE for word in gap):
                runs[-1].append(index)
            else:
                runs.append([index])
    for places in runs:
        for low, first in enumerate(places):
            for high, last in enumerate(places[low:], start=low):
                alone = first == last and (tokens[first].lower in FUNCTION_WORDS or tokens[first].text.isdigit())
                if not alone and (low == 0 or high == len(places) - 1 or len(places) <= _WHOLE):
                    yield first, last
    for number, places in enumerate(runs):
        for following in runs[number + 1 : number + 4]:
            gap_tokens = tokens[places[-1] + 1 : following[0]]
            if all(token.is_capital or token.lower in _JOINING or not token.is_word for token in gap_tokens):
                yield places[0], following[-1]
