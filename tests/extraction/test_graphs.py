"""Entities, relations and the graph they make."""

import pytest
from extraction.ships import NAMESPACE, SHIPS, config, extract, triples

from compat.contracts import Entity
from tasks.extraction import parse_ontology
from tasks.extraction.graph import Proposal, assemble, deduplicate

TEXT = "The Harrier is a schooner. Ada Lind is a person."


def entity(name: str, *types: str, id: str | None = None) -> Entity:
    return Entity(id=id or f"id-{name}", mention=name, canonical_name=name, types=tuple(NAMESPACE + each for each in types))


def proposal(subject: str, predicate: str, object: str, literal_type: str | None = None, confidence: float = 0.8) -> Proposal:
    return Proposal(subject, NAMESPACE + predicate, object, literal_type, confidence, (0, 11))


def graph_of(entities: list[Entity], proposals: list[Proposal], ontology: str = SHIPS):  # type: ignore[no-untyped-def]
    return assemble(TEXT, entities, proposals, parse_ontology(ontology), config())


SHIP, ADA = entity("Harrier", "Schooner"), entity("Ada Lind", "Person")
YEAR = "http://www.w3.org/2001/XMLSchema#gYear"


def test_a_subclass_satisfies_domain_and_range() -> None:
    graph = graph_of([SHIP, ADA], [proposal("Harrier", "captain", "Ada Lind")])
    assert [(each.subject_id, each.object_id) for each in graph.relations] == [(SHIP.id, ADA.id)]


def test_a_relation_that_breaks_its_domain_is_dropped() -> None:
    assert graph_of([SHIP, ADA], [proposal("Ada Lind", "captain", "Ada Lind")]).relations == ()


def test_a_relation_that_breaks_its_range_is_dropped() -> None:
    assert graph_of([SHIP, ADA], [proposal("Harrier", "captain", "Harrier")]).relations == ()


def test_a_literal_where_a_thing_is_asked_for_is_dropped() -> None:
    assert graph_of([SHIP], [proposal("Harrier", "captain", "1884", YEAR)]).relations == ()


def test_a_literal_of_another_datatype_is_dropped() -> None:
    wrong = proposal("Harrier", "completed", "1884-01-01", "http://www.w3.org/2001/XMLSchema#date")
    right = proposal("Harrier", "completed", "1884", YEAR)
    assert [each.literal_value for each in graph_of([SHIP], [wrong, right]).relations] == ["1884"]


def test_a_predicate_that_the_ontology_lacks_is_dropped() -> None:
    assert graph_of([SHIP, ADA], [proposal("Harrier", "flag", "Ada Lind")]).relations == ()


def test_ends_without_an_entity_are_counted_and_dropped() -> None:
    found = graph_of([SHIP], [proposal("Nobody", "captain", "Nobody"), proposal("Harrier", "captain", "Nobody")])
    assert (found.stats.unresolved_subjects, found.stats.unresolved_objects, found.relations) == (1, 2, ())


def test_the_first_entity_of_a_name_wins() -> None:
    found = graph_of([SHIP, entity("HARRIER", "Person", id="second")], [])
    assert (found.entities, found.entity_index, found.stats.entity_count) == ((SHIP,), {"harrier": SHIP.id}, 1)


def test_names_resolve_in_any_case() -> None:
    assert len(graph_of([SHIP, ADA], [proposal("HARRIER", "captain", "ada lind")]).relations) == 1


def test_evidence_is_the_text_at_its_offsets() -> None:
    evidence = graph_of([SHIP, ADA], [proposal("Harrier", "captain", "Ada Lind")]).relations[0].evidence
    assert evidence is not None
    assert evidence.text == TEXT[evidence.start_char : evidence.end_char] == "The Harrier"


def test_of_equal_relations_the_surer_wins() -> None:
    found = deduplicate([proposal("A", "captain", "B", confidence=0.6), proposal("a", "captain", "b", confidence=0.9)])
    assert [each.confidence for each in found] == [0.9]


def test_relations_to_a_thing_and_to_another_stay_apart() -> None:
    assert len(deduplicate([proposal("A", "captain", "B"), proposal("A", "captain", "C"), proposal("A", "builtBy", "B")])) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Harrier is a schooner that was built by Ada Lind.", ("Harrier", "builtBy", "Ada Lind")),
        ("Ada Lind built the schooner Harrier.", ("Harrier", "builtBy", "Ada Lind")),
        ("Ada Lind is the captain of the schooner Harrier.", ("Harrier", "captain", "Ada Lind")),
        ("The captain of the schooner Harrier is Ada Lind.", ("Harrier", "captain", "Ada Lind")),
        ("The Harrier is a ship. Its captain is Ada Lind.", ("Harrier", "captain", "Ada Lind")),
        ("The Harrier is a ship. The ship was built by Ada Lind.", ("Harrier", "builtBy", "Ada Lind")),
        ("The Harrier is a ship completed in 1884.", ("Harrier", "completed", "1884")),
        ("Ada Lind was born in Kelder Haven on 4 March 1851.", ("Ada Lind", "birthPlace", "Kelder Haven")),
        ("Ada Lind was born in Kelder Haven on 4 March 1851.", ("Ada Lind", "birthDate", "1851-03-04")),
        ("Ada Lind met a man. Lind was born in Kelder Haven.", ("Ada Lind", "birthPlace", "Kelder Haven")),
        ("The schooner Harrier and the schooner Tern were built by Ada Lind.", ("Harrier", "builtBy", "Ada Lind")),
        ("The Harrier is a ship that was built by Ada Lind and Per Holm.", ("Harrier", "builtBy", "Per Holm")),
    ],
)
def test_relations_are_read_however_they_are_said(text: str, expected: tuple[str, str, str]) -> None:
    assert expected in triples(extract(text))


MORE = f"""{SHIPS}
:Book a owl:Class ; rdfs:label "book" .
:father a owl:ObjectProperty ; rdfs:label "father" ; rdfs:domain :Person ; rdfs:range :Person .
:published a owl:DatatypeProperty ; rdfs:label "publication date" ; rdfs:domain :Book .
:developer a owl:ObjectProperty ; rdfs:label "developer" ; rdfs:domain :Vessel .
:commander a owl:ObjectProperty ; rdfs:label "commanded by" ; rdfs:domain :Vessel ; rdfs:range :Person .
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Per Lind is the son of Olaf Lind.", {("Per Lind", "father", "Olaf Lind")}),
        ("Olaf Lind is the father of Per Lind.", {("Per Lind", "father", "Olaf Lind")}),
        ("The Quiet Tide was published in 1962. It is a book.", {("The Quiet Tide", "published", "1962")}),
        ("The Harrier is a ship developed by Gizmo.", {("Harrier", "developer", "Gizmo")}),
        (
            "The Harrier is a ship built and commanded by Ada Lind.",
            {("Harrier", "builtBy", "Ada Lind"), ("Harrier", "commander", "Ada Lind")},
        ),
        ("The Harrier is a ship built by Ada Lind, Kelder.", {("Harrier", "builtBy", "Ada Lind")}),
        (
            "Ada Lind is a person. The Harrier is a schooner. She was born in Kelder Haven.",
            {("Ada Lind", "birthPlace", "Kelder Haven")},
        ),
        ("The Harrier is a ship built by the commanded Ada Lind.", {("Harrier", "builtBy", "Ada Lind")}),
    ],
)
def test_exactly_what_is_said_is_read(text: str, expected: set[tuple[str, str, str]]) -> None:
    assert triples(extract(text, ontology=MORE)) == expected


def test_two_names_at_two_places_have_one_relation_though_two_properties_read_alike() -> None:
    alike = (
        f'{SHIPS} :owner a owl:ObjectProperty ; rdfs:label "owned by" . :holder a owl:ObjectProperty ; rdfs:label "owned by" .'
    )
    assert triples(extract("The Harrier is a ship owned by Ada Lind.", ontology=alike)) == {("Harrier", "holder", "Ada Lind")}


def test_an_object_that_nothing_tells_the_class_of_is_a_text_where_no_range_forbids_it() -> None:
    relation = extract("The Harrier is a ship developed by Gizmo.", ontology=MORE).graph.relations[0]
    assert (relation.object_id, relation.literal_type) == (None, "http://www.w3.org/2001/XMLSchema#string")


def test_a_year_is_no_date_of_birth() -> None:
    assert not triples(extract("Ada Lind is a person born in 1851."))


def test_nothing_is_said_without_a_cue() -> None:
    assert not triples(extract("The Harrier is a schooner. Ada Lind saw the Harrier."))


def test_an_entity_keeps_every_place_it_is_named() -> None:
    text = "The Harrier is a ship. 😀 Everyone knew the Harrier."
    harrier = next(each for each in extract(text).graph.entities if each.name == "Harrier")
    assert [mention.start_char for mention in harrier.mentions] == [4, text.rindex("Harrier")]
    assert all(mention.text == text[mention.start_char : mention.end_char] for mention in harrier.mentions)


def test_the_types_of_entities_are_classes_of_the_ontology() -> None:
    classes = {each.iri for each in parse_ontology(SHIPS).classes}
    result = extract(
        "The Harrier is a schooner built by Ada Lind. Kelder Haven is a place. The Tern is a ship. Comet Ilse is a comet."
    )
    assert result.graph.entities
    assert all(each.types and classes.issuperset(each.types) for each in result.graph.entities)
