"""Generated batches and outages through both runtimes: what the contract fixes is equal, seed by seed.

A dozen seeds run by default; all of them with: pytest -m "slow or not slow" tests/parity/test_generated_batches.py
"""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest

import faults
import flows
from compat.contracts import BatchResult, DocumentCompleted, DocumentFailed, DocumentStarted, ExtractionResult, PipelineConfig
from observation import observe

pytestmark = pytest.mark.usefixtures("prefect_server")

SEEDS = [pytest.param(seed, marks=[] if seed < 12 else [pytest.mark.slow]) for seed in range(500)]
TIMES = [pytest.param(time, marks=[] if time < 1 else [pytest.mark.slow]) for time in range(10)]
SIZES = (0, 1, 2, 3, 5, 8, 13, 21, 34)
POLICIES = ("continue-on-failure", "abort-all", "retry-failed")
# Errors that another attempt may mend and that none will; output that nobody can keep; an error without a text.
KINDS = ("flaky", "ontology", "broken", "garbage", "nan-attribute", "nul-mention", "same-entity-id", "unprintable")
RUNTIMES = ("legacy", "engine")


@dataclass
class Watched(faults.ScriptedExtractor):
    """The scripted extractor, which also counts documents in work. The first ones wait until every place is taken."""

    gathered: frozenset[str]
    most: int = 0
    _in_work: int = 0
    _lock: Lock = field(default_factory=Lock)
    _seen: set[str] = field(default_factory=set)
    _barrier: Barrier | None = None

    def __post_init__(self) -> None:
        self._barrier = Barrier(max(1, len(self.gathered)))

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        with self._lock:
            self._in_work += 1
            self.most = max(self.most, self._in_work)
            waits = config.document_id in self.gathered and config.document_id not in self._seen
            self._seen.add(config.document_id)
        try:
            if waits and self._barrier is not None:
                self._barrier.wait(timeout=60)
            return super().run(text, ontology_content, config)
        finally:
            with self._lock:
                self._in_work -= 1


@dataclass
class Away:
    """A service that is away for the first seconds after it was called first."""

    seconds: float
    takes: float
    _since: float | None = None

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        now = time.monotonic()
        self._since = self._since or now
        time.sleep(self.takes)
        if now - self._since < self.seconds:
            raise faults.FlakyServiceError("the service is away")
        return faults.graph_of(["Thing"], config)


# What the factory hands out; the runtimes load it by its name.
_extractors: list[Any] = []


def current() -> Any:
    return _extractors[-1]


def generated(seed: int) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The documents and the config of a seed."""
    chance = random.Random(seed)  # noqa: S311 -- a seeded script, no secret
    policy = POLICIES[seed % len(POLICIES)]
    # Below and above the 50 waits that Prefect takes as a list.
    max_retries = chance.choice([0, 1, 2, 3, 5, 12, 51, 60])
    budget = 1 + max_retries if policy == "retry-failed" else 4
    share = chance.choice([0.0, 0.1, 0.3, 1.0])
    documents = []
    # Sixty rounds are sixty attempts a document, so these batches are small.
    for number in range(chance.choice(SIZES if budget < 10 else SIZES[:5])):
        fails = chance.random() < share
        times = chance.choice([1, 1, 2, 3, budget - 1, budget, faults.ALWAYS]) if fails else 0
        documents.append(faults.document(f"d{number:02}", fail=times, how=chance.choice(KINDS)))
    return documents, {
        "failurePolicy": policy,
        "concurrency": chance.randint(1, 20),
        "maxRetries": max_retries,
        "enableEntityResolution": chance.random() < 0.5,
    }


@dataclass
class Seen:
    result: BatchResult
    everything: dict[str, Any]
    starts: list[str]
    events: list[tuple[str, str | None]]
    most_open: int
    most_in_work: int


def run(mode: str, request: dict[str, Any], extractor: Any, folder: Path, environment: pytest.MonkeyPatch) -> Seen:
    """Run a batch in a store of its own, and return what can be seen of it."""
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{folder / mode}.db")
    environment.setenv(faults.DOOR, str(folder / f"{mode} door"))
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:current")
    _extractors.append(extractor)
    result = flows.run_batch({**request, "batchId": "generated"}, mode)
    events = list(flows.subscribe("generated"))
    starts, opened, most_open = [], 0, 0
    for event in events:
        if isinstance(event, DocumentStarted):
            starts.append(event.document_id)
            opened += 1
            most_open = max(most_open, opened)
        elif isinstance(event, DocumentCompleted | DocumentFailed):
            opened -= 1
    told = [(type(event).__name__, getattr(event, "document_id", None)) for event in events]
    return Seen(result, observe(result), starts, told, most_open, getattr(extractor, "most", 0))


def in_request_order(documents: list[dict[str, str]], config: dict[str, Any], attempts: dict[str, int]) -> list[str]:
    """Every DocumentStarted that the contract wants, in its order."""
    ids = [document["documentId"] for document in documents]
    if config["failurePolicy"] != "retry-failed":
        return [document_id for document_id in ids if document_id in attempts]
    most = max(attempts.values(), default=0)
    return [document_id for number in range(1, most + 1) for document_id in ids if attempts[document_id] >= number]


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_batches_come_to_the_same_in_both_runtimes(
    seed: int, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Path
) -> None:
    documents, config = generated(seed)
    places = 1 if config["failurePolicy"] == "abort-all" else min(config["concurrency"], len(documents))
    request = request_of(documents, **config)
    seen = {}
    for mode in RUNTIMES:
        extractor = Watched(frozenset(document["documentId"] for document in documents[:places]))
        seen[mode] = run(mode, request, extractor, tmp_path, environment)
        # What the contract fixes of each by itself.
        assert seen[mode].starts == in_request_order(documents, config, seen[mode].everything["attempts"])
        assert seen[mode].most_in_work == min(places, len(documents))
        assert seen[mode].most_open <= config["concurrency"]
    legacy, engine = (seen[mode] for mode in RUNTIMES)
    # The one thing that a row is meant to say differently.
    told = json.loads(json.dumps(engine.everything).replace('"executionMode": "engine"', '"executionMode": "legacy"'))
    assert told == json.loads(json.dumps(legacy.everything))
    assert Counter(engine.events) == Counter(legacy.events)
    if places <= 1:
        assert engine.events == legacy.events


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize(
    ("policy", "count", "concurrency", "away", "takes"),
    [
        # A round takes as long as the service is away, or longer on a busy machine, and there are three.
        pytest.param("retry-failed", 40, 2, 0.6, 0.03, id="rounds"),
        # Ten seconds at waits of 1, 2 and 4: the places of the first documents are lost, and no more.
        pytest.param("continue-on-failure", 40, 4, 10.0, 0.0, id="places"),
        pytest.param("continue-on-failure", 400, 4, 10.0, 0.0, id="places, in full", marks=pytest.mark.slow),
    ],
)
def test_an_outage_costs_both_runtimes_the_same_documents(
    policy: str,
    count: int,
    concurrency: int,
    away: float,
    takes: float,
    time: int,
    environment: pytest.MonkeyPatch,
    request_of: Any,
    tmp_path: Path,
) -> None:
    base = 0.1
    environment.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", str(base))
    documents = [faults.document(f"d{number:03}") for number in range(count)]
    request = request_of(documents, failurePolicy=policy, concurrency=concurrency, maxRetries=2)
    seconds = away if policy == "retry-failed" else away * base
    lost = {}
    for mode in RUNTIMES:
        lost[mode] = run(mode, request, Away(seconds, takes), tmp_path, environment).result.failure_count
    assert abs(lost["legacy"] - lost["engine"]) <= concurrency
    assert max(lost.values()) <= (0 if policy == "retry-failed" else 2 * concurrency)
