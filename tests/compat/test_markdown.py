"""A text from outside is shown as it is, whatever markup it holds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from compat.markdown import escaped

MARKUP = [
    *(
        "![an image](http://example.org/x.png)",
        "[a link](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[ref]: http://example.org",
    ),
    *("`code`", "``a`b``", "a | b", "**bold** __bold__ *it* _it_", "~~gone~~", "&lt; &#60; &amp;", "<script>alert(1)</script>"),
    *(
        "# heading",
        "- item",
        "1. item",
        "> quote",
        "a\n\n# heading",
        "\\* \\\\ \\|",
        "---",
        "=== x",
        "+ item",
        "2) item",
        "a_b __init__",
    ),
]


def shown(text: str) -> list[tuple[str, str]]:
    """The kinds of tokens that a cell's text comes to, with their texts."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"| {text} | end |\n|---|---|\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 2
    return [(token.type, token.content) for token in cells[0].children or []]


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_as_text(text: str) -> None:
    found = shown(escaped(text))
    assert {kind for kind, _ in found} <= {"text", "text_special"}
    assert "".join(content for _, content in found) == " ".join(text.split())


@given(st.text(st.sampled_from("ab1 \\`*_{}[]()<>#+-.!|~&;:/@=\"'\n")))
@example("_a__b_")
def test_any_text_is_shown_as_it_is(text: str) -> None:
    found = shown(escaped(text))
    assert {kind for kind, _ in found} <= {"text", "text_special"}
    assert "".join(content for _, content in found) == " ".join(text.split())


def test_a_text_that_begins_a_line_is_no_block() -> None:
    for text in MARKUP:
        assert MarkdownIt("commonmark").parse(escaped(text))[0].type == "paragraph_open", text


@pytest.mark.parametrize("text", ["http://example.org", "www.example.org", "javascript:x", "me@example.org"])
def test_nothing_becomes_a_link_by_itself(text: str) -> None:
    assert text not in escaped(text)


def test_what_people_read_in_terminals_stays_readable() -> None:
    for text in (
        "knowledge_batch_execution__0d6a",
        "documents.outcome of a: succeeded → failed",
        "12:30:00 UTC, in 0.25 s",
        "7.5 s",
    ):
        assert escaped(text) == text
