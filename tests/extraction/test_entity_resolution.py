import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from compat.contracts import Entity
from tasks.extraction import resolve


def entity(id: str, name: str, *types: str) -> tuple[str, Entity]:
    return f"document of {id}", Entity(id=id, mention=name, types=types)


def test_the_same_text_is_one_entity_whatever_its_types() -> None:
    found = resolve([entity("a", "Port Aldery", "Place"), entity("b", " port aldery ", "Vessel")])
    assert (found.canonical, found.merge_count) == ({"a": "a", "b": "a"}, 1)


def test_similar_texts_of_one_type_are_one_entity() -> None:
    found = resolve([entity("a", "Lindqvist Shipyard", "Yard", "Place"), entity("b", "Lindquist Shipyard", "Yard")])
    assert found.canonical == {"a": "a", "b": "a"}


def test_similar_texts_without_a_type_in_common_stay_apart() -> None:
    found = resolve([entity("a", "Lindqvist Shipyard", "Yard"), entity("b", "Lindquist Shipyard", "Vessel")])
    assert (found.canonical, found.merge_count) == ({"a": "a", "b": "b"}, 0)


def test_exactly_the_limit_is_not_similar_enough() -> None:
    one, other = "abcdefghijklmnopqrst", "abcdefghijklmnopqxyz"
    assert fuzz.ratio(one, other) == 85.0
    assert resolve([entity("a", one, "T"), entity("b", other, "T")]).merge_count == 0


def test_a_much_longer_text_may_be_similar_too() -> None:
    one, other = "abcdefghijklmnopqrst", "abcdefghijklmnopqrstuvwxyz"
    assert fuzz.ratio(one, other) > 86
    between = [entity(str(number), f"{number:022}", "T") for number in range(10**21, 10**21 + 10**19, 10**16)]
    found = resolve([entity("a", one, "T"), entity("b", other, "T"), *between])
    assert found.canonical["b"] == "a"


def test_the_first_in_order_stands_for_its_group() -> None:
    found = resolve([entity("z", "Kelder Haven", "P"), entity("a", "Kelder Haven", "P"), entity("m", "Kelder Havn", "P")])
    assert found.canonical == {"z": "z", "a": "z", "m": "z"}


def test_likeness_reaches_over_a_third() -> None:
    names = ["aaaaaaaaaabbbbbbbbbb", "aaaaaaaaaabbbbbbbbcc", "aaaaaaaaaabbbbbbcccc"]
    assert fuzz.ratio(names[0], names[2]) < 85
    found = resolve([entity(str(number), name, "T") for number, name in enumerate(names)])
    assert set(found.canonical.values()) == {"0"}


def test_a_shared_text_joins_types_too() -> None:
    found = resolve([entity("a", "Harrier", "Vessel"), entity("b", "Harrier", "Bird"), entity("c", "Harriers", "Bird")])
    assert set(found.canonical.values()) == {"a"}


def test_the_canonical_name_counts_where_there_is_one() -> None:
    one = Entity(id="a", mention="Vey", canonical_name="Tomas Vey", types=("P",))
    assert resolve([("d", one), entity("b", "Tomas Vey", "P")]).merge_count == 1


def test_nothing_in_gives_nothing_out() -> None:
    assert resolve([]).canonical == {}


def brute_force(entities: list[tuple[str, Entity]]) -> dict[str, str]:
    """The rule of the contract, pair by pair."""
    first = {item.id: item.id for _, item in entities}
    pairs = list(itertools.combinations([item for _, item in entities], 2))
    order = [item.id for _, item in entities]
    changed = True
    while changed:
        changed = False
        for one, other in pairs:
            texts = one.name.strip().lower(), other.name.strip().lower()
            same = texts[0] == texts[1] or (fuzz.ratio(*texts) / 100 > 0.85 and bool({*one.types} & {*other.types}))
            if same and first[one.id] != first[other.id]:
                low = min(first[one.id], first[other.id], key=order.index)
                first[one.id] = first[other.id] = low
                changed = True
    return first


NAMES = st.text("abcd é", min_size=1, max_size=3).flatmap(
    lambda end: st.sampled_from([f"Kelder Haven {end}", f"Tern Society{end}", end])
)
ENTITIES = st.lists(st.tuples(NAMES, st.sets(st.sampled_from("TUV"), max_size=2)), max_size=14)


@given(ENTITIES)
@settings(max_examples=300, deadline=None)
def test_it_finds_what_comparing_every_pair_finds(raw: list[tuple[str, set[str]]]) -> None:
    entities = [entity(f"e{number}", name, *sorted(types)) for number, (name, types) in enumerate(raw)]
    assert resolve(entities).canonical == brute_force(entities)


def test_it_finds_what_comparing_every_pair_finds_over_many_blocks() -> None:
    letters = random.Random(7)  # noqa: S311
    entities = [entity(f"e{n}", "".join(letters.choices("abc", k=letters.randint(7, 30))), "T") for n in range(900)]
    assert resolve(entities).canonical == brute_force(entities)
