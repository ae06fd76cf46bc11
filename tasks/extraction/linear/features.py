"""What the model sees of a sentence, of a span, and of two spans: names of features, hashed to columns."""

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from tasks.extraction.linear.spans import Span
from tasks.extraction.rules.words import COPULAS, FUNCTION_WORDS, PREPOSITIONS
from tasks.extraction.sentences import Sentence, Token

BITS = 18
_MASK = (1 << BITS) - 1


def column(name: str) -> int:
    """Return a feature's column; the same in every process, which Python's own hash isn't."""
    return crc32(name.encode("utf-8", "replace")) & _MASK


def columns(names: Iterable[str]) -> list[int]:
    """Return the distinct columns of features, in ascending order."""
    return sorted({column(name) for name in names})


def of_sentence(sentence: Sentence) -> list[str]:
    """Features that every pair of the sentence has: its words, and the noun that says what it is about."""
    tokens = sentence.tokens
    found = [f"w={token.stem}" for token in tokens if token.is_word and token.lower not in FUNCTION_WORDS]
    copula = next((index for index, token in enumerate(tokens) if token.lower in COPULAS), None)
    if copula is not None:
        head = _noun(tokens, copula + 1)
        found += [f"head={token.stem}" for token in head]
        found += [f"last={head[-1].stem}"] if head else []
    opener = tokens[0].lower if tokens else ""
    return [*found, f"open={opener}", f"length={min(len(tokens) // 8, 6)}", "bias"]


def _noun(tokens: Sequence[Token], begin: int) -> list[Token]:
    """Return the words of the noun that begins at a token: ``a 1990 American film`` up to a preposition or a mark."""
    found = []
    for token in tokens[begin : begin + 12]:
        if (
            (token.is_word and token.lower in PREPOSITIONS)
            or token.text in ",.;("
            or token.lower in ("who", "that", "which", "and")
        ):
            break
        if token.is_word and token.lower not in FUNCTION_WORDS:
            found.append(token)
    return found


def of_span(sentence: Sentence, span: Span, place: int, known: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Features of one span. ``place`` is its number in the sentence; ``known`` counts it in the training rows by role."""
    tokens = sentence.tokens
    inside = tokens[span.first : span.last + 1]
    before = [token.lower for token in tokens[max(0, span.first - 3) : span.first]][::-1] + ["^"] * 3
    after = [token.lower for token in tokens[span.last + 1 : span.last + 4]] + ["$"] * 3
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
        f"before3={before[2]} {before[1]} {before[0]}",
        f"far={before[1]}",
        f"after={after[0]}",
        f"after2={after[0]} {after[1]}",
        f"place={min(place, 5)}",
        f"at={min(span.first, 6)}",
        f"part={min(4, 5 * span.first // max(1, len(tokens)))}",
        f"topic={span.last < stop}{span.first == 0}{span.last + 1 == stop}",
        f"shape+before={shape} {before[0]}",
        f"origin+after={span.origin} {after[0]}",
        f"edge={_open(tokens, span.first - 1)}{_open(tokens, span.last + 1)}",
        f"verb={_cue(tokens, span.first)}",
        f"verb+shape={_cue(tokens, span.first)} {shape}",
        f"next={_ahead(tokens, span.last + 1)}",
    ]
    found += [f"in={token.lower}" for token in inside]
    found += [f"near={token.stem}" for token in tokens[max(0, span.first - 6) : span.first] if token.is_word]
    found += [f"behind={token.stem}" for token in tokens[span.last + 1 : span.last + 5] if token.is_word]
    for role, counts in known.items():
        found += [f"known={role}{relation}" for relation in counts]
        found += [f"often={role}{relation}" for relation, count in counts.items() if count > 2]
        found.append(f"any={role}{bool(counts)}")
    return found


def of_pair(sentence: Sentence, subject: Span | None, object_: Span) -> list[str]:
    """Features of an object beside a subject; without one, those of a sentence whose subject it doesn't name."""
    if subject is None:
        return ["pair=none"]
    tokens = sentence.tokens
    ahead = subject.first < object_.first
    low, high = (subject, object_) if ahead else (object_, subject)
    between = tokens[low.last + 1 : high.first]
    side = ">" if ahead else "<"
    words = [token for token in between if token.is_word]
    found = [
        f"pair={side}",
        f"gap={side}{min(len(between) // 3, 6)}",
        f"direct={side}{' '.join(each.lower for each in between[:4])}",
    ]
    if len(between) > 4:
        found[-1] = f"direct={side}…"
    found += [f"between={side}{token.stem}" for token in words]
    found += [f"marks={side}{token.text}" for token in between if not token.is_word]
    found += [f"pronoun={subject.origin}{object_.origin}"]
    return found


def _shape(token: Token) -> str:
    text = token.text
    if text[0].isdigit():
        return "9"
    if not token.is_word:
        return "."
    return "A" if len(text) > 1 and text.isupper() else "X" if token.is_capital else "x"


def _open(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) and not tokens[index].is_word else "_"


def _cue(tokens: Sequence[Token], first: int) -> str:
    """Return the last small word before a span that isn't a function word, and the preposition after it."""
    follows = ""
    for token in reversed(tokens[max(0, first - 12) : first]):
        if token.lower in PREPOSITIONS:
            follows = follows or token.lower
        elif token.is_word and not token.is_capital and token.lower not in FUNCTION_WORDS and not token.text.isdigit():
            return f"{token.stem} {follows}"
    return f"- {follows}"


def _ahead(tokens: Sequence[Token], begin: int) -> str:
    """Return the first small word after a span that isn't a function word."""
    for token in tokens[begin : begin + 6]:
        if token.is_word and not token.is_capital and token.lower not in FUNCTION_WORDS:
            return token.stem
    return "-"
