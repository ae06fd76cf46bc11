"""Sentences as tokens with word stems: what the rules read."""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import Stemmer

from tasks.extraction.chunking import Chunk

_TOKEN = re.compile(r"['’]s\b|[^\W_]+(?:[-'’.](?!s\b)[^\W_]+)*|[^\w\s]|_")
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark. ``start`` and ``end`` are in the document; ``stem`` is of the lower-case word."""

    text: str
    lower: str
    stem: str
    start: int
    end: int

    @property
    def is_word(self) -> bool:
        """Whether the token is a word or number."""
        return self.text[0].isalnum()

    @property
    def is_capital(self) -> bool:
        """Begins with a capital, or has one behind a digit or a small letter (``iPhone``, ``3D``)."""
        return self.text[0].isupper() or (self.is_word and self.text != self.lower)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a chunk. ``text == document[start:end]``."""

    text: str
    start: int
    end: int
    chunk_index: int
    tokens: tuple[Token, ...]


def read_sentences(chunk: Chunk) -> tuple[Sentence, ...]:
    """Return the sentences of a chunk, with tokens whose offsets are the document's."""
    sentences = []
    for start, end in chunk.sentences:
        text = chunk.text[start - chunk.start : end - chunk.start]
        tokens = tuple(
            Token(word := match.group(), lower := word.lower(), stem(lower), start + match.start(), start + match.end())
            for match in _TOKEN.finditer(text)
        )
        sentences.append(Sentence(text, start, end, chunk.index, tokens))
    return tuple(sentences)


def each_once(by_chunk: Iterable[Sequence[Sentence]]) -> list[Sentence]:
    """Return the sentences of a document in order, each once though chunks overlap."""
    found: dict[int, Sentence] = {}
    for sentences in by_chunk:
        for sentence in sentences:
            found.setdefault(sentence.start, sentence)
    return [found[start] for start in sorted(found)]


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Return the English stem of a lower-case word."""
    # A stemmer holds the word that it works on, so every thread has its own.
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    try:
        return str(_local.stemmer.stemWord(word))
    except UnicodeEncodeError:
        # A lone surrogate is a mark, and marks have no stems.
        return word


def words_of(text: str) -> tuple[str, ...]:
    """Return the lower-case tokens of a text, as a sentence would have them."""
    return tuple(match.group().lower() for match in _TOKEN.finditer(text))


def label_words(label: str) -> list[str]:
    """Return the lower-case words of an ontology's label; camelCase, underscores and hyphens split."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", label)
    return re.findall(r"[^\W_]+", spaced.lower())
