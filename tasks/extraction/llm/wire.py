"""What goes over the wire: the JSON schema of an answer, and an answer's items, each checked by itself."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from tasks.extraction.llm.messages import Schema
from tasks.extraction.llm.vocabulary import MOST_TERMS, Vocabulary


class MentionItem(BaseModel):
    """A name as the text has it."""

    mention: str


class EntityItem(BaseModel):
    """A name, the label of its class, and the fullest form of the name."""

    mention: str
    type: str
    name: str | None = None


class RelationItem(BaseModel):
    """A statement: subject and object are mentions, or the object is a value; the quote says it."""

    subject: str
    predicate: str
    object: str
    quote: str


Item = MentionItem | EntityItem | RelationItem


@dataclass(frozen=True, eq=False)
class Output:
    """An output type: what each of the lists of an answer holds. Compared by identity."""

    lists: Mapping[str, type[Item]]

    @lru_cache(maxsize=64)  # noqa: B019 -- there are four of them, as long as the process
    def schema(self, vocabulary: Vocabulary) -> Schema:
        """Return the JSON schema of an answer. Labels are an enum unless there are more than some servers take."""
        enums = {"type": list(vocabulary.classes), "predicate": list(vocabulary.properties)}
        lists = {}
        for name, item in self.lists.items():
            fields = {
                key: {"type": "string", **({"enum": enums[key]} if 0 < len(enums.get(key, ())) <= MOST_TERMS else {})}
                for key in item.model_fields
            }
            lists[name] = {"type": "array", "items": _object(fields)}
        return Schema.of(_object(lists))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


MENTIONS = Output({"mentions": MentionItem})
ENTITIES = Output({"entities": EntityItem})
RELATIONS = Output({"relations": RelationItem})
EXTRACTION = Output({"entities": EntityItem, "relations": RelationItem})


@dataclass
class Items:
    """The items of one answer. ``dropped`` counts those that are of no use, by reason; ``whole`` is false for half a JSON."""

    mentions: list[MentionItem] = field(default_factory=list)
    entities: list[EntityItem] = field(default_factory=list)
    relations: list[RelationItem] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    whole: bool = True

    def __len__(self) -> int:
        return len(self.mentions) + len(self.entities) + len(self.relations)


class UnreadableAnswerError(ValueError):
    """What a model answered has nothing of use in it."""


MALFORMED, UNKNOWN_CLASS, UNKNOWN_PROPERTY = "malformed", "class not in the ontology", "property not in the ontology"


def read_answer(answer: str | Mapping[str, Any], output: Output, vocabulary: Vocabulary) -> tuple[dict[str, Any], Items]:
    """Return the answer as JSON, and its items; malformed ones and those outside the ontology are dropped and counted.

    Of JSON that is cut off or broken the items before the break are kept. Raises UnreadableAnswerError where there is none.
    """
    value, whole = _parse(answer)
    if not isinstance(value, Mapping) or not any(isinstance(value.get(name), Sequence) for name in output.lists):
        raise UnreadableAnswerError(f"it has none of the lists {', '.join(output.lists)}")
    items = Items(whole=whole)
    for name, kind in output.lists.items():
        given = value.get(name)
        if not isinstance(given, list):
            items.dropped[MALFORMED] += given is not None
            continue
        for each in given:
            try:
                item = kind.model_validate(each)
            except ValidationError:
                items.dropped[MALFORMED] += 1
                continue
            if isinstance(item, EntityItem) and vocabulary.class_of(item.type) is None:
                items.dropped[UNKNOWN_CLASS] += 1
            elif isinstance(item, RelationItem) and vocabulary.property_of(item.predicate) is None:
                items.dropped[UNKNOWN_PROPERTY] += 1
            else:
                getattr(items, name).append(item)
    if not whole and not items:
        raise UnreadableAnswerError("its JSON is broken, and no item of it is whole")
    return dict(value), items


def _parse(answer: str | Mapping[str, Any]) -> tuple[Any, bool]:
    if isinstance(answer, Mapping):
        return answer, True
    # Models like to put JSON into a fence, or a word before it.
    fenced = re.search(r"```(?:json)?\s*(.*?)(?:```|\Z)", answer, re.DOTALL)
    text = fenced[1] if fenced else answer
    start = text.find("{")
    if start < 0:
        raise UnreadableAnswerError("it is empty" if not text.strip() else "it isn't JSON")
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)[0], True
    except ValueError:
        pass
    try:
        return from_json(text[start:], allow_partial=True), False
    except ValueError as error:
        raise UnreadableAnswerError(f"its JSON is broken: {error}") from None
