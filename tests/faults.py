"""An extractor that fails by script and counts who comes to its door, across threads and processes.

A document's text is its script, as JSON: how often it fails, how, and the names it then yields.
"""

import json
import os
import time
import zlib
from collections import Counter
from pathlib import Path

from compat.contracts import (
    Entity,
    ExtractionResult,
    ExtractionStats,
    GraphStats,
    KnowledgeGraph,
    Mention,
    PipelineConfig,
    Relation,
)
from compat.errors import OntologyParseError
from compat.ids import derived_id
from poison import POISON, poisoned
from tasks.extraction import RulesExtractor

DOOR = "KNOWLEDGE_TEST_DOOR"
NAME = "faults:scripted"
ALWAYS = 99


class FlakyServiceError(RuntimeError):
    """A failure that another attempt may mend."""


class BrokenDocumentError(ValueError):
    """A failure of somebody else's class that says of itself that no attempt will mend it."""

    terminal = True


def document(
    document_id: str,
    fail: int = 0,
    how: str = "flaky",
    names: tuple[str, ...] = (),
    seconds: float = 0.0,
    held: bool = False,
) -> dict[str, str]:
    """A document whose first ``fail`` attempts fail. ``how`` is a word of ScriptedExtractor's, or a name of ``poison.POISON``.

    A ``held`` one stays in work until the test calls ``open_door``.
    """
    script = {
        "fail": fail,
        "how": how,
        "names": names or (document_id, "Shared Name"),
        "seconds": seconds,
        **({"held": True} if held else {}),
    }
    return {"documentId": document_id, "text": json.dumps(script), "ontologyContent": "no ontology is read"}


def knocks() -> Counter[str]:
    """How often each document came to the extractor's door."""
    path = Path(os.environ[DOOR])
    return Counter(path.read_text(encoding="utf-8").splitlines()) if path.exists() else Counter()


def open_door() -> None:
    """Let the documents go on that are held, and all that come."""
    _opened().touch()


def close_door() -> None:
    """Hold documents again."""
    _opened().unlink()


def _opened() -> Path:
    return Path(os.environ[DOOR] + "-open")


def _wait_at_the_door(most: float = 300.0) -> None:
    until = time.monotonic() + most
    while not _opened().exists():
        # Bounded, so that no process outlives its test for ever.
        if time.monotonic() > until:
            raise TimeoutError("no test opened the door")
        time.sleep(0.01)


class ScriptedExtractor:
    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        # One short write in append mode is atomic, also between processes.
        with Path(os.environ[DOOR]).open("ab", buffering=0) as door:
            door.write(f"{config.document_id}\n".encode())
        script = json.loads(text)
        if script["seconds"]:
            time.sleep(script["seconds"])
        if script.get("held"):
            _wait_at_the_door()
        if knocks()[config.document_id] <= script["fail"]:
            match script["how"]:
                case "flaky":
                    raise FlakyServiceError(f"{config.document_id} is not ready")
                case "ontology":
                    raise OntologyParseError("line 3: expected a predicate", "turtle", "bad syntax")
                case "broken":
                    raise BrokenDocumentError(f"{config.document_id} can't be read")
                case "garbage":
                    return {"graph": {"entities": "none"}}  # type: ignore[return-value]
                case "killed":
                    os._exit(9)
                case how if how in POISON:
                    return poisoned(how, graph_of(script["names"], config))  # type: ignore[no-any-return]
        return graph_of(script["names"], config)


def graph_of(names: list[str], config: PipelineConfig) -> ExtractionResult:
    """An entity a name, and a relation from the first to each of the others."""
    entities = [
        Entity(
            id=derived_id("knowledge_entity", config.organization_id, config.document_id, name),
            mention=name,
            types=("urn:test:Thing",),
            mentions=(Mention(text=name, start_char=0, end_char=len(name)),),
        )
        for name in names
    ]
    relations = [
        Relation(
            id=derived_id("knowledge_relation", config.document_id, entity.id),
            subject_id=entities[0].id,
            predicate_iri="urn:test:knows",
            object_id=entity.id,
        )
        for entity in entities[1:]
    ]
    counts = {"entity_count": len(entities), "relation_count": len(relations)}
    return ExtractionResult(
        graph=KnowledgeGraph(
            entities=tuple(entities),
            relations=tuple(relations),
            entity_index={entity.mention.lower(): entity.id for entity in entities},
            stats=GraphStats(**counts),
        ),
        stats=ExtractionStats(chunk_count=1, mention_count=len(entities), **counts),
        config=config,
    )


def scripted() -> ScriptedExtractor:
    """The factory that KNOWLEDGE_EXTRACTOR names."""
    return ScriptedExtractor()


def _mixed() -> list[dict[str, str]]:
    return [
        document("m0"),
        document("m1", fail=1),
        document("m2", fail=2),
        document("m3", fail=3),
        document("m4", fail=4),
        document("m5", fail=ALWAYS, how="ontology"),
        document("m6", fail=ALWAYS),
        document("m7", fail=1, how="broken"),
        document("m8", fail=1, how="garbage"),
    ]


# Which attempt of which document fails, and how.
SCRIPTS: dict[str, list[dict[str, str]]] = {
    "empty": [],
    "all-good": [document(f"g{number}") for number in range(5)],
    "one-fails-once": [document("a"), document("b", fail=1), document("c")],
    "one-fails-twice": [document("a"), document("b", fail=2), document("c")],
    "one-fails-thrice": [document("a"), document("b", fail=3), document("c")],
    "first-fails-always": [document("a", fail=ALWAYS), document("b"), document("c")],
    "ontology-does-not-parse": [document("a"), document("b", fail=ALWAYS, how="ontology"), document("c")],
    "all-fail-always": [document(f"f{number}", fail=ALWAYS) for number in range(4)],
    "mixed": _mixed(),
}


class FlakyRules:
    """The rules extractor on real documents, of which every third fails by script: once, twice, or for good."""

    def __init__(self) -> None:
        self._rules = RulesExtractor()

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        with Path(os.environ[DOOR]).open("ab", buffering=0) as door:
            door.write(f"{config.document_id}\n".encode())
        failures = {0: 1, 3: 2, 6: ALWAYS}.get(zlib.crc32(config.document_id.encode()) % 9, 0)
        if knocks()[config.document_id] <= failures:
            raise FlakyServiceError(f"{config.document_id} is not ready")
        return self._rules.run(text, ontology_content, config)


def flaky_rules() -> FlakyRules:
    """As KNOWLEDGE_EXTRACTOR names it."""
    return FlakyRules()


class NoisyExtractor(ScriptedExtractor):
    """Gives every fourth document's last name every other time only, as a model might."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        super().run(text, ontology_content, config)
        names = json.loads(text)["names"]
        odd = knocks()[config.document_id] % 2 and zlib.crc32(config.document_id.encode()) % 4 == 0
        return graph_of(names[:-1] if odd else names, config)


def noisy() -> NoisyExtractor:
    """As KNOWLEDGE_EXTRACTOR names it."""
    return NoisyExtractor()


class IndifferentExtractor:
    """Finds one and the same thing in every text, at once."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        return graph_of(["Thing"], config)


def indifferent() -> IndifferentExtractor:
    return IndifferentExtractor()


# A file: as long as it isn't there, the extractor below keeps documents in work.
OPEN = "KNOWLEDGE_TEST_OPEN"


class HeldExtractor(ScriptedExtractor):
    """Gives the first document at once, and every other one when the test says so."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        extraction = super().run(text, ontology_content, config)
        if config.document_id != "first":
            given_up = time.monotonic() + 60
            while not Path(os.environ[OPEN]).exists() and time.monotonic() < given_up:
                time.sleep(0.01)
        return extraction


def held() -> HeldExtractor:
    """As KNOWLEDGE_EXTRACTOR names it."""
    return HeldExtractor()
