"""Batches whose graphs are looked at, each run once for all tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flows
from compat.store import Store
from flows.graph.merged import MergedGraph

SAMPLE = Path(__file__).parents[2] / "deployments" / "sample"


def request(batch_id: str, documents: dict[str, str], ontology: str, **config: Any) -> dict[str, Any]:
    found = [{"documentId": id, "text": text, "ontologyContent": ontology} for id, text in documents.items()]
    return {"batchId": batch_id, "organizationId": "org", "ontologyId": "ontology", "documents": found, "config": config}


def sample() -> tuple[dict[str, str], str]:
    """The sample's texts by their ids, and its ontology."""
    lines = (SAMPLE / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {each["documentId"]: each["text"] for each in map(json.loads, lines)}
    return texts, (SAMPLE / "ontology.ttl").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the batches sample, own (that without resolution), first and second (its halves), and hostile."""
    folder = tmp_path_factory.mktemp("graphs")
    texts, ontology = sample()
    half = len(texts) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNOWLEDGE_HOME", str(folder))
        patch.delenv("KNOWLEDGE_DATABASE_URL", raising=False)
        patch.setenv("KNOWLEDGE_EXTRACTOR", "rules")
        flows.run_batch(request("sample", texts, ontology), mode="legacy")
        flows.run_batch(request("own", texts, ontology, enableEntityResolution=False), mode="legacy")
        flows.run_batch(request("first", dict(list(texts.items())[:half]), ontology), mode="legacy")
        flows.run_batch(request("second", dict(list(texts.items())[half:]), ontology), mode="legacy")
        patch.setenv("KNOWLEDGE_EXTRACTOR", "hostile:factory")
        documents = {'d;1, "x"': "one text", "</script><b>2": "two texts"}
        flows.run_batch(request("hostile", documents, "# none"), mode="legacy")
        yield folder


@pytest.fixture(scope="module")
def store(home: Path) -> Store:
    return Store.from_settings()


@pytest.fixture(scope="module")
def graph(store: Store) -> MergedGraph:
    """The sample's merged graph."""
    return MergedGraph(store, ["sample"])


@pytest.fixture(scope="module")
def hostile(store: Store) -> MergedGraph:
    return MergedGraph(store, ["hostile"])
