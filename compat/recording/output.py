"""What an extractor returned, checked against the contract before anything of it is written (CONTRACT 4)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import isfinite

from pydantic import ValidationError

from compat.contracts import ExtractionResult, problems_of
from compat.errors import ExtractorOutputError, Problem
from compat.keepable import LARGEST, text_of

# The largest whole number of an integer column.
LARGEST_IN_COLUMN = 2**31 - 1
# An id stands in an index, whose entries PostgreSQL limits to 2,704 bytes; a character takes up to four.
LONGEST_ID = 500
# Problems that an error names; a broken extractor may have one in every entity.
NAMED = 3

# Signs in the JSON of a result that a text of it may be unkeepable: NUL, and what stands for a lone surrogate in a key.
_SUSPECT = (r"\u0000", "\ufffd")
_LONG_NUMBER = re.compile("[0-9]{19}")

Rule = Callable[[ExtractionResult, str], Iterator[Problem]]


@dataclass(frozen=True)
class Checked:
    """A result that the contract and every database can keep, and its JSON, in which it is kept."""

    extraction: ExtractionResult
    json: str


def checked(output: object, text: str) -> Checked:
    """Return what an extractor made of ``text``, if it can be kept.

    Raises ExtractorOutputError that names the first problems: where, what stood there, and what is wrong with it.
    """
    result = _parsed(output)
    json = _as_json(result)
    # Looking at every value costs more than all else here, and the JSON tells whether there is a reason to.
    rules = RULES if json is not None else (*RULES, _values_can_be_kept)
    problems = (problem for rule in rules for problem in rule(result, text))
    found = list(islice(problems, NAMED))
    if found:
        raise ExtractorOutputError(_summary(found, sum(1 for _ in problems)))
    return Checked(result, json if json is not None else result.model_dump_json())


def _as_json(result: ExtractionResult) -> str | None:
    """Return the result's JSON; None where a text, number or key in it may be one that can't be kept."""
    stats = result.graph.stats.model_dump_json() + result.stats.model_dump_json()
    numbers = (value for entity in result.graph.entities for value in entity.attributes.values() if not isinstance(value, str))
    # NaN and infinity, which JSON writes as null, are not smaller than anything. All other numbers have bounds.
    if _LONG_NUMBER.search(stats) or not all(abs(value) <= LARGEST for value in numbers):
        return None
    try:
        json = result.model_dump_json()
    except ValueError:
        # A lone surrogate.
        return None
    return None if any(sign in json for sign in _SUSPECT) else json


def _parsed(output: object) -> ExtractionResult:
    """Return the output as the model. An instance is read anew, since ``model_construct`` and ``model_copy`` check nothing."""
    try:
        data = output.model_dump(warnings=False) if isinstance(output, ExtractionResult) else output
        return ExtractionResult.model_validate(data)
    except ValidationError as error:
        found = problems_of(error)
        raise ExtractorOutputError(_summary(found[:NAMED], len(found) - NAMED)) from None
    except Exception as error:
        # An object of a foreign class in it may raise whatever it likes when it is read.
        raise ExtractorOutputError(f"it can't be read: {type(error).__name__}: {text_of(error)}") from error


def _summary(named: list[Problem], others: int) -> str:
    return "; ".join(map(str, named)) + (f"; and {others} more" if others > 0 else "")


def _ids(result: ExtractionResult) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    graph = result.graph
    return ("entities", [entity.id for entity in graph.entities]), ("relations", [relation.id for relation in graph.relations])


def _ids_are_unique(result: ExtractionResult, text: str) -> Iterator[Problem]:
    for name, ids in _ids(result):
        seen: set[str] = set()
        for number, each in enumerate(ids):
            if each in seen:
                yield Problem(f"graph.{name}[{number}].id", each, f"stands twice among the {name}; give each an id of its own")
            seen.add(each)


def _ids_fit_an_index(result: ExtractionResult, text: str) -> Iterator[Problem]:
    for name, ids in _ids(result):
        for number, each in enumerate(ids):
            if not 0 < len(each) <= LONGEST_ID:
                yield Problem(f"graph.{name}[{number}].id", each, f"give it an id of 1 to {LONGEST_ID} characters")


def _ends_are_entities(result: ExtractionResult, text: str) -> Iterator[Problem]:
    ids = {entity.id for entity in result.graph.entities}
    for number, relation in enumerate(result.graph.relations):
        path = f"graph.relations[{number}]"
        if relation.subject_id not in ids:
            yield Problem(f"{path}.subjectId", relation.subject_id, "no entity of this graph has this id")
        if relation.object_id is not None and relation.object_id not in ids:
            yield Problem(f"{path}.objectId", relation.object_id, "no entity of this graph has this id")
        if relation.object_id is None and relation.literal_value is None:
            yield Problem(f"{path}.objectId", None, "the relation has neither an object nor a literal value; give it one")


def _offsets_are_in_the_text(result: ExtractionResult, text: str) -> Iterator[Problem]:
    graph = result.graph
    places = [
        (f"graph.entities[{number}].mentions[{place}]", mention.start_char, mention.end_char)
        for number, entity in enumerate(graph.entities)
        for place, mention in enumerate(entity.mentions)
    ] + [
        (f"graph.relations[{number}].evidence", relation.evidence.start_char, relation.evidence.end_char)
        for number, relation in enumerate(graph.relations)
        if relation.evidence is not None
    ]
    for path, start, end in places:
        if end > len(text):
            yield Problem(f"{path}.endChar", end, f"is outside of the text, which has {len(text)} characters")
        if start > end:
            yield Problem(f"{path}.startChar", start, f"is behind its end, {end}")


def _chunks_fit_a_column(result: ExtractionResult, text: str) -> Iterator[Problem]:
    for number, entity in enumerate(result.graph.entities):
        for place, mention in enumerate(entity.mentions):
            if not 0 <= mention.chunk_index <= LARGEST_IN_COLUMN:
                path = f"graph.entities[{number}].mentions[{place}].chunkIndex"
                yield Problem(path, mention.chunk_index, f"is no number of a chunk; give one from 0 to {LARGEST_IN_COLUMN}")


def _values_can_be_kept(result: ExtractionResult, text: str) -> Iterator[Problem]:
    """Every text, number and key, wherever it stands."""
    waiting: list[tuple[str, object]] = [("", result.model_dump())]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                inner = f"{path}.{key}" if path else key
                advice = _advice(key)
                if advice:
                    yield Problem(path, key, f"this key {advice}")
                waiting.append((inner, item))
        elif isinstance(value, list | tuple):
            waiting.extend((f"{path}[{number}]", item) for number, item in enumerate(value))
        else:
            advice = _advice(value)
            if advice:
                yield Problem(path, value, advice)


def _advice(value: object) -> str | None:
    """Return what is wrong with one value, if anything is."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return None
        if "\x00" in value:
            return "has a NUL character, which databases can't keep"
        return "has a lone surrogate, which is no Unicode text" if _has_surrogate(value) else None
    if isinstance(value, float):
        return None if isfinite(value) else "is not a finite number, which JSON can't keep"
    if isinstance(value, int):
        return (
            None
            if -LARGEST <= value <= LARGEST
            else "is larger than 64 bits, which readers of JSON can't hold; keep it as a text"
        )
    return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


# What the model alone doesn't refuse, beside values that can't be kept.
RULES: tuple[Rule, ...] = (
    _ids_are_unique,
    _ids_fit_an_index,
    _ends_are_entities,
    _offsets_are_in_the_text,
    _chunks_fit_a_column,
)
