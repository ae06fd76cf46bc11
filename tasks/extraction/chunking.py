"""A document in chunks of whole sentences, with offsets that are always true (CONTRACT 9.2)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

MAX_CHARS = 2000
MIN_TAIL_CHARS = 100
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document: ``text == document[start:end]``, in characters.

    ``sentences`` are the ``(start, end)`` of its sentences in the document, without a gap between them.
    """

    index: int
    text: str
    start: int
    end: int
    sentences: tuple[tuple[int, int], ...]


def split_sentences(text: str, max_chars: int = MAX_CHARS) -> list[tuple[int, int]]:
    """Return the sentences of a text as ``(start, end)``, which together cover all of it.

    Space after a sentence belongs to it. A sentence of more than ``max_chars`` characters is cut after the last
    whitespace that fits, or at ``max_chars`` if there is none.
    """
    starts = []
    position = 0
    # A lone surrogate, which Python allows and sentencex doesn't, is replaced by one character, so offsets stay true.
    readable = _SURROGATES.sub("\ufffd", text)
    for sentence in sentencex.segment("en", readable):
        # Sentencex may leave out blank space between paragraphs, so each sentence is searched for, not counted to.
        found = readable.find(sentence, position)
        if found >= 0 and sentence.strip():
            starts.append(found)
            position = found + len(sentence)
    if not text:
        return []
    starts[:1] = [0]
    spans: list[tuple[int, int]] = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        spans.extend(_cut(text, start, end, max_chars))
    return spans


def _cut(text: str, start: int, end: int, max_chars: int) -> Iterator[tuple[int, int]]:
    while end - start > max_chars:
        stop = start + max_chars
        while stop > start and not text[stop - 1].isspace():
            stop -= 1
        # A cut before the sentence's only word would make a piece of nothing but whitespace.
        stop = stop if text[start:stop].strip() else start + max_chars
        yield start, stop
        start = stop
    yield start, end


def split(text: str, max_chars: int = MAX_CHARS, min_tail_chars: int = MIN_TAIL_CHARS) -> list[Chunk]:
    """Return the chunks of a document, in order; together they cover all of it. An empty document has none.

    A chunk holds at most ``max_chars`` characters and begins with the last sentence of the chunk before it, if
    that leaves room for a new one. If fewer than ``min_tail_chars`` new characters remain for the last chunk, they
    join the chunk before it, which is the only one that may become longer than ``max_chars``.
    """
    sentences = split_sentences(text, max_chars)
    if not sentences:
        return []
    # Chunks as (first, last) sentence, both included, and the first sentence that the chunk before doesn't have.
    groups: list[tuple[int, int, int]] = []
    first = new = 0
    for number in range(1, len(sentences) + 1):
        if number < len(sentences) and sentences[number][1] - sentences[first][0] <= max_chars:
            continue
        groups.append((first, number - 1, new))
        if number < len(sentences):
            overlap_fits = sentences[number][1] - sentences[number - 1][0] <= max_chars
            first, new = number - 1 if overlap_fits else number, number
    if len(groups) > 1 and len(text) - sentences[groups[-1][2]][0] < min_tail_chars:
        _, last, _ = groups.pop()
        groups[-1] = (groups[-1][0], last, groups[-1][2])
    chunks = []
    for index, (first, last, _) in enumerate(groups):
        start, end = sentences[first][0], sentences[last][1]
        chunks.append(Chunk(index, text[start:end], start, end, tuple(sentences[first : last + 1])))
    return chunks
