import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compat.contracts import KnowledgeGraph, PipelineConfig
from compat.errors import InvalidInputError
from tasks.extraction.linear import LinearExtractor
from tasks.extraction.linear.model import LinearModel
from tasks.extraction.linear.training import train

FILMS = """
@prefix : <https://example.org/films#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:Film a owl:Class ; rdfs:label "film" . :Person a owl:Class ; rdfs:label "person" .
:director a owl:ObjectProperty ; rdfs:label "director" ; rdfs:domain :Film ; rdfs:range :Person .
:released a owl:ObjectProperty ; rdfs:label "publication date" ; rdfs:domain :Film .
"""
CONFIG = PipelineConfig(document_id="1", organization_id="museum", ontology_id="films")
TEXT = "Quiet Harbour is a 1971 Danish drama directed by Ines Aldana."


def rows() -> list[dict[str, Any]]:
    titles = ("Cold Lantern", "The Grey Pilot", "Silver Reef", "Night Ferry", "Long Winter", "Blue Orchard")
    people = ("Ada Lind", "Per Holm", "Tomas Vey", "Maria Crane", "Lena Hart")
    made = []
    for place in range(60):
        title, person, year = titles[place % 6], people[place % 5], 1950 + place
        text = (
            f"{title} is a {year} Danish drama directed by {person}.",
            f"Directed by {person}, {title} was shown in {year}.",
            f"{title} was released in {year} and stars {people[(place + 1) % 5]}.",
        )[place % 3]
        triples = [{"sub": title, "rel": "publication date", "obj": f"01 January {year}"}]
        triples += [{"sub": title, "rel": "director", "obj": person}] if "irected by" in text else []
        made.append({"text": text, "triples": triples})
    return made


@pytest.fixture(scope="module")
def model() -> LinearModel:
    return train(FILMS, rows())


def said(graph: KnowledgeGraph) -> set[tuple[str, str, str]]:
    names = {each.id: each.name for each in graph.entities}
    return {
        (names[each.subject_id], each.predicate_iri.split("#")[1], names.get(each.object_id or "") or str(each.literal_value))
        for each in graph.relations
    }


def test_names_that_no_row_has_are_found_with_dates_typed_and_spans_that_are_true(model: LinearModel) -> None:
    graph = LinearExtractor(model).run(TEXT, FILMS, CONFIG).graph
    assert said(graph) == {("Quiet Harbour", "director", "Ines Aldana"), ("Quiet Harbour", "released", "1971")}
    year = next(each for each in graph.relations if each.literal_value)
    assert year.literal_type == "http://www.w3.org/2001/XMLSchema#gYear"
    assert all(
        each.evidence and TEXT[each.evidence.start_char : each.evidence.end_char] == each.evidence.text
        for each in graph.relations
    )
    assert all(
        mention.text == TEXT[mention.start_char : mention.end_char] for each in graph.entities for mention in each.mentions
    )
    assert all(each.confidence >= 0.5 for each in graph.relations)
    assert {each.name: each.types for each in graph.entities} == {
        "Quiet Harbour": ("https://example.org/films#Film",), "Ines Aldana": ("https://example.org/films#Person",),
    }  # fmt: skip


def test_a_model_comes_back_from_its_file(model: LinearModel, tmp_path: Path) -> None:
    model.write(tmp_path / "model.npz")
    graph = LinearExtractor(LinearModel.read(tmp_path / "model.npz")).run(TEXT, FILMS, CONFIG).graph
    assert len(graph.relations) == 2


def test_a_model_of_another_ontology_is_refused_with_both_hashes(model: LinearModel) -> None:
    with pytest.raises(InvalidInputError, match=f"trained for ontology {model.ontology[:12]}"):
        LinearExtractor(model).run(TEXT, FILMS + "# changed", CONFIG)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="isn't a model"):
        LinearModel.read(tmp_path / "model.npz")


def test_a_text_without_a_name_and_an_empty_one_give_nothing(model: LinearModel) -> None:
    assert not LinearExtractor(model).run("", FILMS, CONFIG).graph.entities
    assert not LinearExtractor(model).run("...", FILMS, CONFIG).graph.entities


def test_the_commands_train_and_evaluate_give_the_same_bytes_under_two_hash_seeds(tmp_path: Path) -> None:
    for name, lines in (
        ("rows.jsonl", rows()),
        ("documents.jsonl", [{"documentId": "1", "text": TEXT}, {"documentId": "2", "text": rows()[0]["text"]}]),
        ("expected.jsonl", [{"documentId": "1", "triples": [{"sub": "Quiet Harbour", "rel": "director", "obj": "Ines Aldana"}]},
                            {"documentId": "2", "triples": rows()[0]["triples"]}]),
    ):  # fmt: skip
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "ontology.ttl").write_text(FILMS)
    outputs = []
    for seed in ("1", "2"):

        def run(*arguments: str, seed: str = seed) -> str:
            command = [sys.executable, "-m", "flows.command.cli", *arguments]
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            return subprocess.run(
                command, env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
            ).stdout

        file = tmp_path / f"{seed}.npz"
        run("train", "--ontology", str(tmp_path / "ontology.ttl"), "--rows", str(tmp_path / "rows.jsonl"), "--output", str(file))
        found = json.loads(
            run("evaluate", str(tmp_path), "--train-rows", "rows.jsonl", "--extractor", "linear", "--model", str(file),
                "--plot", str(tmp_path / f"{seed}.svg"), "--format", "json")
        )  # fmt: skip
        del found["sources"][0]["sentencesPerSecond"]
        outputs.append((file.read_bytes(), found, (tmp_path / f"{seed}.svg").read_text()))
    assert outputs[0] == outputs[1]
    (source,) = outputs[0][1]["sources"]
    assert (source["all"]["documents"], source["clean"]["documents"]) == (2, 1)
    assert source["clean"]["official_f1"] == 1.0
    assert "director" in outputs[0][2]
