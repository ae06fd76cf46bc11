"""What the model sees of a sentence, of a span, and of two spans: names of features, hashed to columns."""

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from tasks.extraction.linear.spans import Span
from tasks.extraction.rules.words import COPULAS, FUNCTION_WORDS
from tasks.extraction.sentences import Sentence, Token

BITS = 18
_MASK = (1 << BITS) - 1


def columns(names: Iterable[str]) -> list[int]:
    """Return the distinct columns of features, ascending; the same in every process, which Python's own hash isn't."""
    return sorted({crc32(name.encode("utf-8", "replace")) & _MASK for name in names})


def of_sentence(sentence: Sentence) -> list[str]:
    """Features that every pair of the sentence has: its words."""
    return ["bias", *(f"w={token.stem}" for token in sentence.tokens if token.is_word and token.lower not in FUNCTION_WORDS)]


def of_span(sentence: Sentence, span: Span, place: int, known: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Features of one span. ``place`` is its number in the sentence; ``known`` counts it in the training rows by role."""
    tokens = sentence.tokens
    inside = tokens[span.first : span.last + 1]
    before = [token.lower for token in tokens[max(0, span.first - 2) : span.first]][::-1] + ["^"] * 2
    after = [token.lower for token in tokens[span.last + 1 : span.last + 3]] + ["$"] * 2
    shape = "".join(dict.fromkeys(_shape(token) for token in inside))
    stop = next((index for index, token in enumerate(tokens) if token.lower in COPULAS), len(tokens))
    found = [
        f"origin={span.origin}",
        f"shape={shape}",
        f"size={min(len(inside), 6)}",
        f"first={inside[0].lower}",
        f"final={inside[-1].lower}",
        f"ending={inside[-1].lower[-3:]}",
        f"before={before[0]}",
        f"before2={before[1]} {before[0]}",
        f"far={before[1]}",
        f"after={after[0]}",
        f"after2={after[0]} {after[1]}",
        f"place={min(place, 5)}",
        f"part={min(4, 5 * span.first // max(1, len(tokens)))}",
        f"topic={span.last < stop}{span.first == 0}{span.last + 1 == stop}",
        f"origin+after={span.origin} {after[0]}",
        f"edge={_mark(tokens, span.first - 1)}{_mark(tokens, span.last + 1)}",
    ]
    found += [f"in={token.lower}" for token in inside]
    found += [f"near={token.stem}" for token in tokens[max(0, span.first - 6) : span.first] if token.is_word]
    found += [f"behind={token.stem}" for token in tokens[span.last + 1 : span.last + 5] if token.is_word]
    for role, counts in known.items():
        found += [f"known={role}{relation}" for relation in counts]
        found += [f"often={role}{relation}" for relation, count in counts.items() if count > 2]
    return found


def of_pair(sentence: Sentence, subject: Span | None, object_: Span) -> list[str]:
    """Features of an object beside a subject; without one, those of a sentence whose subject it doesn't name."""
    if subject is None:
        return ["pair=none"]
    low, high = (subject, object_) if subject.first < object_.first else (object_, subject)
    side = ">" if low is subject else "<"
    between = sentence.tokens[low.last + 1 : high.first]
    return [f"pair={side}", *(f"between={side}{token.stem}" for token in between if token.is_word)]


def _shape(token: Token) -> str:
    if token.text[0].isdigit():
        return "9"
    if not token.is_word:
        return "."
    return "A" if len(token.text) > 1 and token.text.isupper() else "X" if token.is_capital else "x"


def _mark(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) and not tokens[index].is_word else "_"
