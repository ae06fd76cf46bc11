import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz, process

from compat.contracts import Entity
from tasks.extraction import Resolution, names, resolve
from tasks.extraction.names import numbers_in

PREFIXES = """
@prefix : <https://example.org/films#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
"""
GENRES = PREFIXES + (
    ':Genre a owl:Class ; rdfs:label "genre" . :Film a owl:Class ; rdfs:label "film" .'
    ':Subgenre a owl:Class ; rdfs:label "subgenre" ; rdfs:subClassOf :Genre .'
    ':scifi a :Genre ; rdfs:label "science fiction" ; skos:altLabel "sci-fi" .'
    ':dramas a :Genre ; rdfs:label "drama films one" . :drama a :Genre ; rdfs:label "drama films ones" .'
)
GENRE, SUBGENRE, FILM = (f"https://example.org/films#{name}" for name in ("Genre", "Subgenre", "Film"))


def entity(id: str, name: str, *types: str, **more: object) -> tuple[str, Entity]:
    return f"document of {id}", Entity(id=id, mention=name, types=types, **more)  # type: ignore[arg-type]


def groups(entities: list[tuple[str, Entity]], *ontologies: str) -> set[frozenset[str]]:
    """The ids of the entities that became one."""
    found = resolve(entities, "organization", ontologies)
    together: dict[str, set[str]] = {}
    for _, each in entities:
        together.setdefault(found.canonical_id(each), set()).add(each.id)
    assert len(together) == len(list(found.entities)) == len(entities) - found.merge_count
    return {frozenset(ids) for ids in together.values()}


def apart(*names: str) -> bool:
    return len(groups([entity(str(number), name, "T") for number, name in enumerate(names)])) == len(names)


# --- What is one entity -----------------------------------------------------------------------------------------------


def test_the_same_text_is_one_entity_whatever_its_types() -> None:
    assert groups([entity("a", "Port Aldery", "Place"), entity("b", " port aldery ", "Vessel")]) == {frozenset("ab")}


def test_similar_texts_of_one_type_are_one_entity() -> None:
    assert groups([entity("a", "Lindqvist Shipyard", "Yard", "Place"), entity("b", "Lindquist Shipyard", "Yard")]) == {
        frozenset("ab")
    }


def test_similar_texts_without_a_type_in_common_stay_apart() -> None:
    assert len(groups([entity("a", "Lindqvist Shipyard", "Yard"), entity("b", "Lindquist Shipyard", "Vessel")])) == 2


def test_exactly_the_limit_is_not_similar_enough() -> None:
    one, other = "abcdefghijklmnopqrst", "abcdefghijklmnopqxyz"
    assert fuzz.ratio(one, other) == 85.0
    assert apart(one, other)


def test_a_much_longer_text_may_be_similar_too() -> None:
    one, other = "abcdefghijklmnopqrst", "abcdefghijklmnopqrstuvwxyz"
    assert fuzz.ratio(one, other) > 86
    assert not apart(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Apollo 11", "Apollo 12"),
        ("Apollo 11", "Apollo 1"),
        ("Henry VII of England", "Henry VIII of England"),
        ("King Henry VII", "King Henry"),
        ("henry vii of england", "henry viii of england"),
        ("Elizabeth I of England", "Elizabeth II of England"),
        ("the 2018 World Cup", "the 2022 World Cup"),
        ("the 2018 World Cup", "the World Cup"),
        ("Super Bowl XLIX final", "Super Bowl XLVIII final"),
        ("Boeing 737-800", "Boeing 737-900"),
    ],
)
def test_names_that_differ_in_a_number_are_never_one(one: str, other: str) -> None:
    assert fuzz.ratio(one.lower(), other.lower()) > 80
    assert apart(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Apollo 11 mission", "Apollo 11 missions"),
        ("Apollo 007 mission", "Apollo 7 mission"),
        ("Henry VIII Tudor", "Henry VIII Tuder"),
    ],
)
def test_names_of_the_same_number_may_be_one(one: str, other: str) -> None:
    assert not apart(one, other)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Apollo 11", (11,)),
        ("7 of 9", (7, 9)),
        ("Henry VIII", (8,)),
        ("MCMXC review", (1990,)),
        ("rocky iv", (4,)),
        ("Malcolm X", (10,)),
        ("henry v", (5,)),
        ("V. Woolf", ()),
        ("J. I. Case", ()),
        ("Roe v Wade", ()),
        ("Washington DC", ()),
        ("a CD of Mild", ()),
        ("IIII", ()),
        ("Livia", ()),
    ],
)
def test_numbers_are_digits_and_roman_numerals_and_no_initials(name: str, numbers: tuple[int, ...]) -> None:
    assert numbers_in(name) == numbers


def test_a_group_grows_only_where_every_name_is_like_every_other() -> None:
    names = ["aaaaaaaaaabbbbbbbbbb", "aaaaaaaaaabbbbbbbbcc", "aaaaaaaaaabbbbbbcccc"]
    assert fuzz.ratio(names[0], names[2]) < 85 < fuzz.ratio(names[0], names[1])
    assert groups([entity(str(number), name, "T") for number, name in enumerate(names)]) == {frozenset("01"), frozenset("2")}


def test_the_most_similar_names_come_together_first() -> None:
    first, near, nearest = "Kelder Haven Harbour Old", "Kelder Haven Harbour Oldest", "Kelder Haven Harbour Oldests"
    assert fuzz.ratio(first, near) < fuzz.ratio(near, nearest)
    assert fuzz.ratio(first.lower(), nearest.lower()) > 85
    assert groups([entity("a", first, "T"), entity("b", near, "T"), entity("c", nearest, "T")]) == {frozenset("abc")}


def test_a_shared_text_joins_types_too() -> None:
    found = groups([entity("a", "Harrier", "Vessel"), entity("b", "Harrier", "Bird"), entity("c", "Harriers", "Bird")])
    assert found == {frozenset("abc")}


def test_the_canonical_name_counts_where_there_is_one() -> None:
    one = Entity(id="a", mention="Vey", canonical_name="Tomas Vey", types=("P",))
    assert resolve([("d", one), entity("b", "Tomas Vey", "P")]).merge_count == 1


def test_extractors_may_use_one_id_in_several_documents() -> None:
    one, other = ("d1", Entity(id="e1", mention="Torsay")), ("d2", Entity(id="e1", mention="Kelder Haven"))
    found = resolve([one, other])
    assert [each.name for each in found.entities] == ["Torsay", "Kelder Haven"]
    assert found.canonical_id(one[1]) != found.canonical_id(other[1])


# --- Individuals of the ontology --------------------------------------------------------------------------------------


def test_the_labels_of_an_individual_are_one_entity() -> None:
    entities = [entity("a", "Sci-Fi", GENRE), entity("b", "science fiction", GENRE), entity("c", "Sci-Fi Film", FILM)]
    assert groups(entities) == {frozenset("a"), frozenset("b"), frozenset("c")}
    assert groups(entities, GENRES) == {frozenset("ab"), frozenset("c")}


def test_a_label_counts_for_things_of_the_individuals_class_or_one_below_it() -> None:
    assert len(groups([entity("a", "sci-fi", FILM), entity("b", "science fiction", GENRE)], GENRES)) == 2
    assert len(groups([entity("a", "sci-fi", SUBGENRE), entity("b", "science fiction", GENRE)], GENRES)) == 1


def test_two_individuals_stay_two_however_similar_their_labels_are() -> None:
    entities = [entity("a", "drama films one", GENRE), entity("b", "drama films ones", GENRE)]
    assert groups(entities) == {frozenset("ab")}
    assert groups(entities, GENRES) == {frozenset("a"), frozenset("b")}


def test_an_ontology_that_does_not_parse_has_no_individuals() -> None:
    assert len(groups([entity("a", "sci-fi", GENRE), entity("b", "science fiction", GENRE)], "no Turtle", GENRES)) == 1


# --- What becomes of them ---------------------------------------------------------------------------------------------


def merged(*entities: tuple[str, Entity], organization: str = "organization") -> Resolution:
    return resolve(entities, organization)


def test_a_name_is_the_commonest_spelling_then_the_longest_then_the_first() -> None:
    [one] = merged(entity("a", "torsay", "T"), entity("b", "Torsay", "T"), entity("c", "Torsay", "T")).entities
    assert one.name == "Torsay"
    [one] = merged(entity("a", "Lindqvist Shipyard", "T"), entity("b", "Lindqvist Shipyards", "T")).entities
    assert one.name == "Lindqvist Shipyards"
    [one] = merged(entity("a", "TORSAY", "T"), entity("b", "Torsay", "T")).entities
    assert one.name == "TORSAY"


def test_an_id_is_the_organizations_and_the_names_so_that_every_batch_has_the_same() -> None:
    [one] = merged(entity("a", "Torsay", "T")).entities
    [again] = merged(entity("b", "TORSAY", "U"), entity("c", "Torsay", "U"), entity("d", "Torsay")).entities
    [theirs] = merged(entity("a", "Torsay", "T"), organization="another").entities
    assert one.id == again.id != theirs.id
    assert one.id.startswith("knowledge_entity__")


def test_types_are_those_of_all_the_commonest_main_one_first() -> None:
    [one] = merged(
        entity("a", "Torsay", "Place", "Thing"), entity("b", "Torsay", "Isle"), entity("c", "Torsay", "Isle", "Rock")
    ).entities
    assert one.types == ("Isle", "Place", "Thing", "Rock")


def test_attributes_are_those_of_all_each_value_once() -> None:
    [one] = merged(
        entity("a", "Torsay", attributes={"height": 1, "lit": True}),
        entity("b", "Torsay", attributes={"height": 1, "lit": 1}),
        entity("c", "Torsay", attributes={"height": "one"}),
    ).entities
    assert one.attributes == {"height": (1, "one"), "lit": (True, 1)}
    assert [type(value) for value in one.attributes["lit"]] == [bool, int]


def test_confidence_is_the_highest_and_entities_are_counted() -> None:
    [one] = merged(entity("a", "Torsay", confidence=0.5), entity("b", "Torsay", confidence=0.75)).entities
    assert (one.confidence, one.entity_count) == (0.75, 2)


def test_entities_come_in_the_order_of_their_first_mention() -> None:
    found = merged(entity("a", "Torsay"), entity("b", "Kelder Haven"), entity("c", "Torsay"), entity("d", "Aldery"))
    assert [each.name for each in found.entities] == ["Torsay", "Kelder Haven", "Aldery"]


def test_names_written_in_several_parts_are_counted_once_even_if_all_have_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    entities = [entity(str(number), f"{number % 7} ships", "T", f"U{number % 3}") for number in range(50)]
    at_once = list(resolve(entities).entities)
    monkeypatch.setattr(names, "_KEPT", 3)
    monkeypatch.setattr(names, "hash", lambda _: 1, raising=False)
    assert list(resolve(entities).entities) == at_once


def test_nothing_in_gives_nothing_out() -> None:
    assert (list(resolve([]).entities), resolve([]).merge_count) == ([], 0)


# --- Against all pairs ------------------------------------------------------------------------------------------------


def brute_force(entities: list[tuple[str, Entity]]) -> set[frozenset[str]]:
    """The rule of the contract, pair by pair, for entities of one name each."""
    nodes = [each for _, each in entities]
    if not nodes:
        return set()
    texts = [each.name.strip().lower() for each in nodes]
    scores = process.cdist(texts, texts, scorer=fuzz.ratio, dtype=np.float64)
    pairs = [(int(one), int(other)) for one, other in np.argwhere(scores > 85) if one < other]
    alike = {
        (one, other)
        for one, other in pairs
        if {*nodes[one].types} & {*nodes[other].types} and numbers_in(nodes[one].name) == numbers_in(nodes[other].name)
    }
    group = {number: {number} for number in range(len(nodes))}
    for one, other in sorted(alike, key=lambda pair: (-scores[pair], pair)):
        left, right = group[one], group[other]
        if left is not right and all((min(pair), max(pair)) in alike for pair in itertools.product(left, right)):
            joined = left | right
            group |= dict.fromkeys(joined, joined)
    return {frozenset(nodes[number].id for number in numbers) for numbers in group.values()}


NAMES = st.text("abcd é1", min_size=1, max_size=3).flatmap(
    lambda end: st.sampled_from([f"Kelder Haven {end}", f"Tern Society{end}", end])
)
ENTITIES = st.lists(
    st.tuples(NAMES, st.sets(st.sampled_from("TUV"), max_size=2)), max_size=14, unique_by=lambda each: each[0].strip().lower()
)


@given(ENTITIES)
@settings(max_examples=300, deadline=None)
def test_it_finds_what_comparing_every_pair_finds(raw: list[tuple[str, set[str]]]) -> None:
    entities = [entity(f"e{number}", name, *sorted(types)) for number, (name, types) in enumerate(raw)]
    assert groups(entities) == brute_force(entities)


def names_of(kind: str, size: int) -> list[str]:
    dice = random.Random(7)  # noqa: S311
    found: dict[str, None] = {}
    words = ["".join(dice.choices("abcdefgh", k=dice.randint(3, 9))) for _ in range(150)]
    while len(found) < size:
        if kind == "letters":
            name = "".join(dice.choices("abc", k=dice.randint(2, 24)))
        else:
            name = " ".join(dice.choices(words, k=dice.randint(1, 4)))
        found.setdefault(name)
        # Misspelled once or twice, so that many pairs lie about the limit.
        for _ in range(dice.randint(0, 2)):
            place = dice.randrange(len(name))
            name = name[:place] + dice.choice(["", "x", "ab"]) + name[place + dice.randint(0, 1) :]
            name = name.strip() or "x"
            found.setdefault(name)
    return list(found)[:size]


@pytest.mark.parametrize("kind", ["letters", "words"])
def test_no_pair_of_3000_names_is_missed(kind: str) -> None:
    entities = [entity(str(number), name, "T") for number, name in enumerate(names_of(kind, 3_000))]
    found = resolve(entities)
    together: dict[str, set[str]] = {}
    for _, each in entities:
        together.setdefault(found.canonical_id(each), set()).add(each.id)
    expected = brute_force(entities)
    assert any(len(group) > 2 for group in expected)
    assert {frozenset(group) for group in together.values()} == expected
