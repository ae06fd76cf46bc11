"""What the rules leave unsaid: types that nothing says, relations that aren't certain, languages that they can't read."""

import json
from pathlib import Path

import pytest
from extraction.ships import SHIPS, config, extract, triples

from tasks.extraction import RulesExtractor, parse_ontology
from tasks.extraction.evaluation import Measures, Scored, classes_of, expected_of, facts_of, measure, types_of

UDHR = Path(__file__).parent / "udhr"
FOAF = (UDHR / "foaf.ttl").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["english", "french", "german", "italian", "portuguese", "spanish"])
def test_a_declaration_that_names_nobody_has_no_person(language: str) -> None:
    text = (UDHR / f"{language}.txt").read_text(encoding="utf-8")
    entities = RulesExtractor().run(text, FOAF, config()).graph.entities
    assert not [each.name for each in entities if "http://xmlns.com/foaf/0.1/Person" in each.types]
    assert len(entities) <= (10 if language == "english" else 0)


@pytest.mark.parametrize(
    "text", ["Mont Blanc rises above Chamonix.", "Then Quiet Lantern came out.", "He met Ada Lind in Kelder Haven."]
)
def test_a_name_that_nothing_says_the_class_of_is_left_out(text: str) -> None:
    assert extract(text).graph.entities == ()


def test_a_class_that_only_a_relation_implies_is_the_one_of_its_range() -> None:
    found = extract("The Harrier is a schooner that was built by Ada Lind.").graph.entities
    assert {each.name: each.types[0].rpartition("#")[2] for each in found} == {"Harrier": "Schooner", "Ada Lind": "Person"}


UNION = f"""{SHIPS}
:Yard a owl:Class ; rdfs:label "yard" .
:owner a owl:ObjectProperty ; rdfs:label "owned by" ; rdfs:domain :Vessel ;
  rdfs:range [ a owl:Class ; owl:unionOf ( :Person :Yard ) ] .
"""


def test_of_several_classes_that_a_relation_may_imply_none_is_chosen_unless_one_is_above_them() -> None:
    text = "The Harrier is a schooner owned by Vey and Lind."
    assert triples(extract(text, ontology=UNION)) == set()
    above = UNION + ':Agent a owl:Class ; rdfs:label "agent" . :Person rdfs:subClassOf :Agent . :Yard rdfs:subClassOf :Agent .'
    found = {each.name: each.types[0].rpartition("#")[2] for each in extract(text, ontology=above).graph.entities}
    assert found["Vey"] == "Agent"


@pytest.mark.parametrize(
    "text",
    [
        # Whose captain it was isn't said, nor which of the two was completed.
        "The storm took the Harrier, a schooner. In it died the captain and Ada Lind.",
        "The yard beside the Harrier, a schooner, was completed in 1884.",
    ],
)
def test_where_the_rules_would_guess_they_say_nothing(text: str) -> None:
    assert triples(extract(text)) == set()


@pytest.mark.parametrize(
    "text",
    [
        "One Harrier is a schooner that was built by Per Holm! and Sons.",
        "The Harrier is a schooner that was built by Holm “Old” Vey.",
        "The Harrier is a schooner that was built by Holm and the Sons.",
        "The Harrier is a schooner that was built by Holm boat.",
        "The Harrier is a schooner that was built in Dutch by nobody.",
        'Harrier") is a schooner built by Ada Lind.',
        "The Harrier is a schooner that was built by Holm 2003.",
        "The Harrier is a schooner that was built by Howlin' Wolf.",
    ],
)
def test_a_part_of_a_name_is_no_end_of_a_relation(text: str) -> None:
    assert "builtBy" not in {predicate for _, predicate, _ in triples(extract(text))}


def test_a_date_behind_by_somebody_is_not_theirs() -> None:
    assert triples(extract("Completed in 1884 by the Holm Boatyard, it was sold.")) == set()


def test_a_date_behind_a_comma_is_not_said_of_the_subject_if_another_name_is_before_it() -> None:
    assert triples(extract("The Harrier is a schooner beside the Petrel, completed in 1884.")) == set()


def test_founded_by_asks_for_somebody_and_takes_no_year() -> None:
    ontology = SHIPS + ':foundedBy a owl:ObjectProperty ; rdfs:label "founded by" .'
    assert triples(extract("The Harrier is a schooner that was founded in 1903.", ontology=ontology)) == set()


def test_a_place_before_a_description_of_somebody_is_not_described() -> None:
    assert triples(extract("Born in Rowan, the captain of the schooner Harrier was tall.")) == set()


def rules_on(rows: Path, ontology_content: str) -> Measures:
    ontology = parse_ontology(ontology_content)
    texts = [json.loads(line) for line in rows.read_text(encoding="utf-8").split("\n") if line]
    classes = classes_of((each for row in texts for each in expected_of(row["triples"])), ontology)
    scored = []
    for row in texts:
        graph = RulesExtractor().run(row["text"], ontology_content, config()).graph
        facts, types = facts_of(graph, row["text"], ontology), types_of(graph, classes, ontology)
        scored.append(Scored(facts, expected_of(row["triples"]), types=types))
    return measure(scored)


@pytest.mark.slow
def test_on_real_sentences_what_is_said_is_mostly_right(data: Path) -> None:
    found = [rules_on(each / "train.jsonl", (each / "ontology.ttl").read_text()) for each in sorted((data / "text2kg").iterdir())]
    considered = sum(each.right / each.considered_precision for each in found if each.right)
    assert sum(each.right for each in found) / considered >= 0.75
    assert sum(each.typed * each.type_precision for each in found) / sum(each.typed for each in found) >= 0.9
    assert all(each.conformance == 1.0 for each in found)
