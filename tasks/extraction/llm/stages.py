"""The stages of reading one chunk: pairs of a prompt and an output type, run one after the other."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tasks.extraction.chunking import Chunk
from tasks.extraction.llm.messages import Asked, Request
from tasks.extraction.llm.prompts import Prompt, prompt
from tasks.extraction.llm.vocabulary import Vocabulary
from tasks.extraction.llm.wire import ENTITIES, EXTRACTION, MENTIONS, RELATIONS, Items, Output


@dataclass(frozen=True)
class Stage:
    """A call a chunk: what the model is told, and what its answer holds."""

    name: str
    prompt: Prompt
    output: Output


def stages_of(calls: Literal["one", "three"]) -> tuple[Stage, ...]:
    """Return all in one call, or mentions, then entities, then relations."""
    if calls == "one":
        return (Stage("extract", prompt("extract.1"), EXTRACTION),)
    return (
        Stage("mentions", prompt("mentions.1"), MENTIONS),
        Stage("entities", prompt("entities.1"), ENTITIES),
        Stage("relations", prompt("relations.1"), RELATIONS),
    )


class TruncatedAnswer(Exception):  # noqa: N818 - not an error: the chunk is halved
    """The model had more to say of this chunk than an answer may be long."""


Ask = Callable[[Stage, Request, Vocabulary], Awaitable[Items]]


async def run_stages(
    stages: Iterable[Stage], text: str, vocabulary: Vocabulary, asked: Callable[[str], Asked], ask: Ask
) -> Items:
    """Return what the stages find in a text. A stage that has nothing to work on isn't asked."""
    found = Items()
    for stage in stages:
        if stage.output is ENTITIES and not found.mentions:
            break
        if stage.output is RELATIONS and not found.entities:
            break
        items = await ask(stage, request_of(stage, text, vocabulary, asked(stage.name), found), vocabulary)
        found.mentions += items.mentions
        found.entities += items.entities
        found.relations += items.relations
        found.dropped += items.dropped
        found.whole = found.whole and items.whole
    return found


def request_of(stage: Stage, text: str, vocabulary: Vocabulary, asked: Asked, found: Items) -> Request:
    """Return the messages of a stage. What is the same for every chunk comes first, byte by byte."""
    known = ""
    if stage.output is ENTITIES:
        known = _listed("Mentions", (each.mention for each in found.mentions))
    elif stage.output is RELATIONS:
        known = _listed("Entities", (f"{each.mention} ({each.type})" for each in found.entities))
    system = f"{stage.prompt.text}\n{vocabulary.described}"
    return Request(asked, system, f"Text:\n{text}{known}", stage.output.schema(vocabulary))


def _listed(heading: str, items: Iterable[str]) -> str:
    return f"\n\n{heading}:\n" + "".join(f"- {item}\n" for item in dict.fromkeys(items))


def halves(chunk: Chunk) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the chunk as two stretches of the document, cut between sentences, else at a space; None if it can't be cut."""
    middle = (chunk.start + chunk.end) // 2
    cuts = [start for start, _ in chunk.sentences[1:]]
    if not cuts:
        spaces = [chunk.start + index + 1 for index, letter in enumerate(chunk.text) if letter.isspace()]
        cuts = [cut for cut in spaces if chunk.text[: cut - chunk.start].strip() and chunk.text[cut - chunk.start :].strip()]
    if not cuts:
        return None
    cut = min(cuts, key=lambda each: (abs(each - middle), each))
    return (chunk.start, cut), (cut, chunk.end)
