"""A batch's graph as rows: texts with their triples, to correct, and to train on."""

import json
from pathlib import Path

import pytest
from graphs.conftest import request, sample

import faults
import flows
from compat.store import Store
from flows.graph.export import Options, write
from flows.graph.merged import MergedGraph
from flows.sources.triples import read_rows
from tasks.extraction.linear.training import train


def exported(graph: MergedGraph, folder: Path) -> Path:
    return write(graph, folder / "rows.jsonl", Options()).files[0]


def test_rows_are_the_texts_with_their_triples_by_labels(graph: MergedGraph, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in exported(graph, tmp_path).read_text(encoding="utf-8").splitlines()]
    assert {row["documentId"]: row["text"] for row in rows} == sample()[0]
    assert sum(len(row["triples"]) for row in rows) == graph.count("statement")
    light = next(row for row in rows if row["documentId"] == "gannet-light")
    assert {"sub": "Gannet Light", "rel": "built by", "obj": "Ada Lindqvist"} in light["triples"]
    assert {"sub": "Gannet Light", "rel": "height", "obj": "31"} in light["triples"]


def test_a_document_that_failed_has_no_triples_to_learn_from(store: Store, tmp_path: Path) -> None:
    texts = {each["documentId"]: each["text"] for each in (faults.document("bad", fail=1, how="broken"), faults.document("good"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNOWLEDGE_EXTRACTOR", faults.NAME)
        patch.setenv(faults.DOOR, str(tmp_path / "door"))
        flows.run_batch(request("failed", texts, "# none"), mode="legacy")
    lines = [json.loads(line) for line in exported(MergedGraph(store, ["failed"]), tmp_path).read_text().splitlines()]
    assert [sorted(line) for line in lines] == [["documentId", "text"], ["documentId", "text", "triples"]]


def test_what_a_batch_found_can_be_trained_on_and_is_found_again(
    graph: MergedGraph, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_rows("--rows", str(exported(graph, tmp_path)), "text")
    texts, ontology = sample()
    train(ontology, rows).write(tmp_path / "model.npz")
    monkeypatch.setenv("KNOWLEDGE_EXTRACTOR", "linear")
    monkeypatch.setenv("KNOWLEDGE_LINEAR_MODEL", str(tmp_path / "model.npz"))
    flows.run_batch(request("again", texts, ontology), mode="legacy")
    again = read_rows("--rows", str(exported(MergedGraph(store, ["again"]), tmp_path)), "text")
    before, after = ({(row["text"], *each.values()) for row in kind for each in row["triples"]} for kind in (rows, again))
    assert len(before & after) > len(before) / 3
