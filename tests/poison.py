"""What an extractor may hand back or raise that nobody can keep: each is one document's failed attempt (CONTRACT 4).

``faults.document(…, how=NAME)`` takes every name of ``POISON``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from compat.contracts import Entity, ExtractionResult, Mention, Relation
from compat.errors import KnowledgeBatchError

NAN, INFINITE = float("nan"), float("inf")


@dataclass(frozen=True)
class Poison:
    """How a healthy result is spoiled, and what the stored error says of it: its class and a part of its text."""

    spoil: Callable[[ExtractionResult], object]
    kind: str
    says: str


def poisoned(how: str, healthy: ExtractionResult) -> Any:
    """The spoiled output, or the error instead of one."""
    return POISON[how].spoil(healthy)


def entities(change: Callable[[list[Entity]], Any]) -> Callable[[ExtractionResult], object]:
    """A result with other entities. ``model_copy`` and ``model_construct`` check nothing, as an extractor in a hurry."""
    return lambda healthy: _graph(healthy, entities=tuple(change(list(healthy.graph.entities))))


def first_entity(**changes: Any) -> Callable[[ExtractionResult], object]:
    return entities(lambda found: [found[0].model_copy(update=changes), *found[1:]])


def first_mention(**changes: Any) -> Callable[[ExtractionResult], object]:
    def change(found: list[Entity]) -> list[Entity]:
        mention = found[0].mentions[0].model_copy(update=changes)
        return [found[0].model_copy(update={"mentions": (mention,)}), *found[1:]]

    return entities(change)


def first_relation(**changes: Any) -> Callable[[ExtractionResult], object]:
    def spoil(healthy: ExtractionResult) -> object:
        first, *others = healthy.graph.relations
        return _graph(healthy, relations=(first.model_copy(update=changes), *others))

    return spoil


def first_evidence(**evidence: Any) -> Callable[[ExtractionResult], object]:
    return as_dict(lambda output: output["graph"]["relations"][0].update(evidence=evidence))


def as_dict(change: Callable[[dict[str, Any]], object]) -> Callable[[ExtractionResult], object]:
    """What an extractor of the old kind returns: the JSON, as a dict."""

    def spoil(healthy: ExtractionResult) -> object:
        output = healthy.model_dump()
        change(output)
        return output

    return spoil


def _graph(healthy: ExtractionResult, **changes: Any) -> ExtractionResult:
    return healthy.model_copy(update={"graph": healthy.graph.model_copy(update=changes)})


def raising(make: Callable[[], BaseException]) -> Callable[[ExtractionResult], NoReturn]:
    def spoil(healthy: ExtractionResult) -> NoReturn:
        raise make()

    return spoil


class UnprintableError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class UnpicklableError(Exception):
    """An error that crosses no process."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("not to be pickled")


class UndecidedError(Exception):
    """An error that can't even say whether it is terminal."""

    @property
    def terminal(self) -> bool:
        raise RuntimeError("who knows")


class UnkeepableFieldError(KnowledgeBatchError):
    """A named error with fields that JSON can't keep."""

    terminal = False
    service: object
    limit: object
    names: object

    def __str__(self) -> str:
        return "the service refused"


class StoppedHardError(BaseException):
    """As KeyboardInterrupt, caught by no ``except Exception``."""


OUTPUT = "ExtractorOutputError"
POISON: dict[str, Poison] = {
    # The graph
    "same-entity-id": Poison(entities(lambda found: [*found, found[0]]), OUTPUT, "graph.entities[2].id"),
    "same-relation-id": Poison(
        lambda healthy: _graph(healthy, relations=(*healthy.graph.relations,) * 2), OUTPUT, "graph.relations[1].id"
    ),
    "loose-subject": Poison(first_relation(subject_id="nobody"), OUTPUT, "graph.relations[0].subjectId = 'nobody'"),
    "loose-object": Poison(first_relation(object_id="nobody"), OUTPUT, "graph.relations[0].objectId = 'nobody'"),
    "no-object": Poison(first_relation(object_id=None), OUTPUT, "graph.relations[0]"),
    "endless-id": Poison(first_entity(id="x" * 5_000), OUTPUT, "graph.entities[0].id"),
    # Numbers
    "nan-attribute": Poison(first_entity(attributes={"height": NAN}), OUTPUT, "graph.entities[0].attributes.height = nan"),
    "infinite-attribute": Poison(first_entity(attributes={"height": -INFINITE}), OUTPUT, "attributes.height = -inf"),
    "nested-nan": Poison(first_entity(attributes={"size": {"height": NAN}}), OUTPUT, "graph.entities[0].attributes.size"),
    "nan-confidence": Poison(first_entity(confidence=NAN), OUTPUT, "graph.entities[0].confidence = nan"),
    "infinite-confidence": Poison(first_relation(confidence=INFINITE), OUTPUT, "graph.relations[0].confidence = inf"),
    "nan-mention": Poison(first_mention(confidence=NAN), OUTPUT, "graph.entities[0].mentions[0].confidence = nan"),
    "huge-attribute": Poison(first_entity(attributes={"height": 2**63}), OUTPUT, "graph.entities[0].attributes.height"),
    "endless-attribute": Poison(first_entity(attributes={"height": 10**5_000}), OUTPUT, "graph.entities[0].attributes.height"),
    "huge-chunk-index": Poison(first_mention(chunk_index=2**31), OUTPUT, "graph.entities[0].mentions[0].chunkIndex"),
    "huge-stats": Poison(as_dict(lambda output: output["stats"].update(tokensUsed=2**70)), OUTPUT, "stats.tokensUsed"),
    # Texts
    "nul-name": Poison(first_entity(canonical_name="a\x00b"), OUTPUT, "graph.entities[0].canonicalName"),
    "nul-mention": Poison(first_mention(text="a\x00b"), OUTPUT, "graph.entities[0].mentions[0].text"),
    "nul-type": Poison(first_entity(types=("urn:\x00",)), OUTPUT, "graph.entities[0].types[0]"),
    "nul-attribute": Poison(first_entity(attributes={"note": "a\x00b"}), OUTPUT, "graph.entities[0].attributes.note"),
    "nul-key": Poison(first_entity(attributes={"a\x00b": 1}), OUTPUT, "graph.entities[0].attributes"),
    "nul-evidence": Poison(first_evidence(text="a\x00b", startChar=0, endChar=1), OUTPUT, "graph.relations[0].evidence.text"),
    "nul-config": Poison(as_dict(lambda output: output["config"].update(ontologyId="\x00")), OUTPUT, "config.ontologyId"),
    "nul-index": Poison(
        as_dict(lambda output: output["graph"]["entityIndex"].update({"\x00": "x"})), OUTPUT, "graph.entityIndex"
    ),
    "surrogate-name": Poison(first_entity(canonical_name="a\ud800b"), OUTPUT, "graph.entities[0].canonicalName"),
    "surrogate-mention": Poison(first_mention(text="\udfff"), OUTPUT, "graph.entities[0].mentions[0].text"),
    "surrogate-key": Poison(first_entity(attributes={"\ud800": 1}), OUTPUT, "graph.entities[0].attributes"),
    "surrogate-literal": Poison(
        first_relation(object_id=None, literal_value="\ud800"), OUTPUT, "graph.relations[0].literalValue"
    ),
    # Offsets
    "offset-outside": Poison(first_mention(end_char=10**6), OUTPUT, "graph.entities[0].mentions[0].endChar = 1000000"),
    "offset-backwards": Poison(first_mention(start_char=2, end_char=1), OUTPUT, "graph.entities[0].mentions[0].startChar = 2"),
    "offset-negative": Poison(first_mention(start_char=-1), OUTPUT, "graph.entities[0].mentions[0].startChar = -1"),
    "evidence-outside": Poison(
        first_evidence(text="x", startChar=0, endChar=10**6), OUTPUT, "graph.relations[0].evidence.endChar = 1000000"
    ),
    # Not a result at all
    "nothing": Poison(lambda healthy: None, OUTPUT, "None"),
    "foreign-object": Poison(first_entity(attributes={"height": object()}), OUTPUT, "graph.entities[0].attributes.height"),
    "foreign-entity": Poison(entities(lambda found: [*found, object()]), OUTPUT, "graph.entities[2]"),
    "hollow-entity": Poison(entities(lambda found: [Mention.model_construct()]), OUTPUT, "graph.entities[0]"),
    "hollow-relation": Poison(
        lambda healthy: _graph(healthy, relations=(Relation.model_construct(id="r"),)), OUTPUT, "graph.relations[0]"
    ),
    "hollow-result": Poison(lambda healthy: ExtractionResult.model_construct(graph=None), OUTPUT, "graph = None"),
    # Errors
    "unprintable": Poison(raising(UnprintableError), "UnprintableError", "its text can't be made (ValueError)"),
    "unpicklable": Poison(raising(lambda: UnpicklableError("stuck")), "UnpicklableError", "stuck"),
    "undecided": Poison(raising(lambda: UndecidedError("torn")), "UndecidedError", "torn"),
    "nul-error": Poison(raising(lambda: ValueError("a\x00b")), "ValueError", "a\\x00b"),
    "surrogate-error": Poison(raising(lambda: ValueError("a\ud800b")), "ValueError", "a\\ud800b"),
    "unkeepable-field": Poison(
        raising(lambda: UnkeepableFieldError(object(), NAN, {"a\x00": {1, 2}})), "UnkeepableFieldError", "the service refused"
    ),
    "system-exit": Poison(raising(lambda: SystemExit("enough")), "SystemExit", "enough"),
    "keyboard-interrupt": Poison(raising(KeyboardInterrupt), "KeyboardInterrupt", ""),
    "stopped-hard": Poison(raising(lambda: StoppedHardError("stop")), "StoppedHardError", "stop"),
    "cancelled": Poison(raising(asyncio.CancelledError), "CancelledError", ""),
}
