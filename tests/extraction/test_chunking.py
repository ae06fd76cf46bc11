from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.extraction.chunking import MAX_CHARS, MIN_TAIL_CHARS, Chunk, split, split_sentences

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            ["One. ", "A ship left. ", "Dr. Vey came! ", "\n\n", "  ", "😀", "مرحبا. ", "Ada’s “light”? ", "x" * 90, "e\u0301"]
        ),
    ),
    max_size=60,
).map("".join)


@given(TEXTS, st.integers(20, 200), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_every_chunk_is_the_text_at_its_offsets(text: str, limit: int, tail: int) -> None:
    for chunk in split(text, limit, tail):
        assert chunk.text == text[chunk.start : chunk.end]
        assert (chunk.sentences[0][0], chunk.sentences[-1][1]) == (chunk.start, chunk.end)


@given(TEXTS, st.integers(20, 200), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_chunks_together_cover_the_text(text: str, limit: int, tail: int) -> None:
    end = 0
    for index, chunk in enumerate(split(text, limit, tail)):
        assert chunk.index == index
        assert chunk.start <= end < chunk.end
        end = chunk.end
    assert end == len(text)


@given(TEXTS, st.integers(20, 200), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_only_a_joined_tail_makes_a_chunk_longer_than_the_limit(text: str, limit: int, tail: int) -> None:
    chunks = split(text, limit, tail)
    assert all(len(chunk.text) <= limit for chunk in chunks[:-1])
    assert not chunks or len(chunks[-1].text) < limit + max(tail, 1)


@given(TEXTS, st.integers(20, 200))
@settings(max_examples=200, deadline=None)
def test_sentences_follow_each_other_without_a_gap(text: str, limit: int) -> None:
    spans = split_sentences(text, limit)
    assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]
    assert all(0 < end - start <= limit for start, end in spans)


def test_a_chunk_begins_with_the_last_sentence_of_the_one_before() -> None:
    text = "".join(f"The ship number {number} left the harbour in the morning. " for number in range(100))
    chunks = split(text)
    assert len(chunks) > 2
    for before, after in pairwise(chunks):
        assert after.sentences[0] == before.sentences[-1]


def test_sentences_stay_whole() -> None:
    text = "".join(f"The ship number {number} left the harbour in the morning. " for number in range(100))
    assert all(chunk.text.strip().startswith("The ship") and chunk.text.strip().endswith("morning.") for chunk in split(text))


def test_a_short_tail_joins_the_chunk_before_it() -> None:
    sentence = "The ship left the harbour in the early morning fog. "
    text = sentence * (MAX_CHARS // len(sentence)) + "It never came back again to port."
    assert len(text) > MAX_CHARS
    assert len(text) - MAX_CHARS < MIN_TAIL_CHARS
    assert [chunk.text for chunk in split(text)] == [text]


def test_a_tail_that_is_long_enough_stands_alone() -> None:
    sentence = "The ship left the harbour in the early morning fog. "
    text = sentence * (MAX_CHARS // len(sentence)) + "It never came back, " + "and nobody knew why, " * 6 + "to port."
    assert len(split(text)) == 2


def test_blank_lines_do_not_shift_the_sentences() -> None:
    text = "\n\n\n".join(f"Ship {number} left." + " \n" * 5 for number in range(5))
    assert [text[start:end].strip() for start, end in split_sentences(text)] == [f"Ship {number} left." for number in range(5)]


def test_a_sentence_beyond_the_limit_is_cut_at_a_space() -> None:
    chunks = split("words " * 1000)
    assert all(chunk.text.startswith("words") and chunk.text.endswith(" ") for chunk in chunks)


def test_a_word_beyond_the_limit_is_cut_at_the_limit() -> None:
    assert [len(chunk.text) for chunk in split("x" * 4500)] == [2000, 2000, 500]


def test_an_empty_document_has_no_chunks() -> None:
    assert split("") == []


def test_a_short_document_is_one_chunk() -> None:
    assert split("One. Two.") == [Chunk(0, "One. Two.", 0, 9, ((0, 5), (5, 9)))]


@pytest.mark.parametrize("unit", ["word ", "a", "😀", "مرحبا بالعالم. ", "The ship left. ", "\n", ". ", "(", '"a '])
def test_a_megabyte_is_chunked_whole(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    chunks = split(text)
    assert chunks[-1].end == len(text)
    assert all(chunk.text == text[chunk.start : chunk.end] for chunk in chunks)
