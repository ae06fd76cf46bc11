"""Entities that mean the same, across the documents of one or more batches (CONTRACT 9.8)."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from math import floor

import numpy as np
from rapidfuzz import fuzz, process

from compat.contracts import CanonicalEntity, Entity
from compat.errors import OntologyParseError
from compat.ids import derived_id
from tasks.extraction.ontology import Ontology, parse_ontology

SIMILAR = 0.85

_NUMBER = re.compile(r"\d+|(?<![\w.])[ivxlcdm]+(?![\w.])", re.IGNORECASE)
_ROMAN = re.compile(r"m*(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})", re.IGNORECASE)
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}


@dataclass(frozen=True)
class Resolution:
    """The canonical entities in the order of their first mention, and which of them a name belongs to.

    ``merge_count`` is the number of entities that were merged into another.
    """

    entities: tuple[CanonicalEntity, ...]
    merge_count: int
    # The position in `entities` by trimmed lower-case name.
    places: dict[str, int] = field(repr=False)

    def canonical_id(self, entity: Entity) -> str:
        """Return the id of the canonical entity of a resolved entity."""
        return self.entities[self.places[_text(entity.name)]].id


def resolve(entities: Iterable[tuple[str, Entity]], organization_id: str = "", ontologies: Iterable[str] = ()) -> Resolution:
    """Group entities, given as ``(document_id, entity)`` in the order of the request, and make one of each group.

    Equal names (trimmed, in lower case) are one entity. Names that are more than 0.85 similar (rapidfuzz's ratio) and share
    a type are one, unless they differ in a number or name two individuals of the ontologies. Such groups grow from the most
    similar names on, and only as long as every name is that similar to every other in its group. The labels of one individual
    are one as well. Ontologies that don't parse have no individuals.
    """
    names = _Names()
    for _, entity in entities:
        names.add(entity)
    groups = _grouped(names.all, _individuals(names.all, ontologies))
    made = tuple(_merged([names.all[number] for number in group], organization_id) for group in groups)
    places = {names.all[number].text: place for place, group in enumerate(groups) for number in group}
    return Resolution(made, sum(name.entities for name in names.all) - len(made), places)


def numbers_in(name: str) -> tuple[int, ...]:
    """Return the numbers in a name, in digits or Roman numerals, in ascending order: what tells Apollo 11 from Apollo 12.

    A single letter is a numeral where it is I, V or X in capitals, or the last word; initials ("V. Woolf") are none.
    """
    found = []
    for match in _NUMBER.finditer(name):
        word = match.group()
        if word[0].isdigit():
            found.append(int(word))
        elif _is_roman(word, last=match.end() == len(name.rstrip())):
            found.append(_roman_value(word.lower()))
    return tuple(sorted(found))


def _is_roman(word: str, last: bool) -> bool:
    if not _ROMAN.fullmatch(word) or not set("ivx") & set(word.lower()):
        # DC and CD are no numbers.
        return False
    return len(word) > 1 or word in "IVX" or last


def _roman_value(word: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in word]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


def _text(name: str) -> str:
    return name.strip().lower()


# --- Names ------------------------------------------------------------------------------------------------------------


class _Name:
    """All entities of one name, whatever document they stand in."""

    __slots__ = ("attributes", "confidence", "entities", "numbers", "spellings", "text", "types")

    def __init__(self, text: str, spelling: str) -> None:
        self.text = text
        self.numbers = numbers_in(spelling)
        self.entities = 0
        self.confidence = 0.0
        # How many entities are spelled so, and how many have a type as their main one; in order of appearance.
        self.spellings: dict[str, int] = {}
        self.types: dict[str, int] = {}
        self.attributes: dict[str, list[str | int | float | bool]] | None = None

    def add(self, entity: Entity) -> None:
        self.entities += 1
        self.confidence = max(self.confidence, entity.confidence)
        spelling = entity.name.strip()
        self.spellings[spelling] = self.spellings.get(spelling, 0) + 1
        for place, kind in enumerate(entity.types):
            self.types[kind] = self.types.get(kind, 0) + (place == 0)
        if entity.attributes:
            self.attributes = _with_attributes(self.attributes or {}, {key: [value] for key, value in entity.attributes.items()})


class _Names:
    def __init__(self) -> None:
        self.all: list[_Name] = []
        self._by_text: dict[str, _Name] = {}

    def add(self, entity: Entity) -> None:
        text = _text(entity.name)
        name = self._by_text.get(text)
        if name is None:
            name = self._by_text[text] = _Name(text, entity.name.strip())
            self.all.append(name)
        name.add(entity)


def _with_attributes(
    found: dict[str, list[str | int | float | bool]], more: dict[str, list[str | int | float | bool]]
) -> dict[str, list[str | int | float | bool]]:
    for key, values in more.items():
        kept = found.setdefault(key, [])
        # To Python True is 1.
        there = {(type(value), value) for value in kept}
        kept.extend(value for value in values if (type(value), value) not in there)
    return found


def _merged(names: Sequence[_Name], organization_id: str) -> CanonicalEntity:
    """Return one entity for a group of names, given in the order of their appearance.

    Its name is the spelling of most of its entities, the longer and then the earlier one where several are as common; its
    id is derived from organization and name, so that it is the same in every batch. Its main type is the one that is the main
    one of most entities, then the earlier one.
    """
    spellings: Counter[str] = Counter()
    types: Counter[str] = Counter()
    attributes: dict[str, list[str | int | float | bool]] = {}
    for each in names:
        spellings.update(each.spellings)
        types.update(each.types)
        _with_attributes(attributes, each.attributes or {})
    # The first of equals: both counters keep the order of appearance.
    name = max(spellings, key=lambda spelling: (spellings[spelling], len(spelling)))
    return CanonicalEntity(
        id=derived_id("knowledge_entity", organization_id, "canonical", _text(name)),
        name=name,
        types=tuple(sorted(types, key=lambda kind: -types[kind])),
        attributes={key: tuple(values) for key, values in attributes.items()},
        confidence=max(each.confidence for each in names),
        entity_count=sum(each.entities for each in names),
    )


def _individuals(names: Sequence[_Name], ontologies: Iterable[str]) -> dict[int, str]:
    """Return, by a name's number, the IRI of the first individual with that label."""
    by_label: dict[str, list[tuple[str, tuple[str, ...], Ontology]]] = defaultdict(list)
    for content in ontologies:
        try:
            ontology = parse_ontology(content)
        except OntologyParseError:
            continue
        for individual in ontology.individuals:
            for label in individual.labels:
                by_label[_text(label)].append((individual.iri, individual.types, ontology))
    found: dict[int, str] = {}
    for number, name in enumerate(names):
        for iri, types, ontology in by_label.get(name.text, ()):
            if any(ontology.is_a(one, other) or ontology.is_a(other, one) for one in name.types for other in types):
                found.setdefault(number, iri)
    return found


# --- Groups -----------------------------------------------------------------------------------------------------------


def _grouped(names: Sequence[_Name], individuals: dict[int, str]) -> list[list[int]]:
    """Return the groups of equal names, by their numbers, each group and all groups in ascending order."""
    groups = _Groups(len(names))
    first_of: dict[str, int] = {}
    for number, iri in individuals.items():
        groups.join(first_of.setdefault(iri, number), number)
    texts = [name.text for name in names]
    alike: dict[tuple[int, int], float] = {}
    for number, others in _candidates(names):
        # Many at a time, which is what takes most of the time where names are many.
        near = list(map(texts.__getitem__, others))
        scores = process.cdist([texts[number]], near, scorer=fuzz.ratio, score_cutoff=SIMILAR * 100, dtype=np.float64)[0]
        for place in np.flatnonzero(scores > SIMILAR * 100):
            alike[others[place], number] = float(scores[place])
    for one, other in sorted(alike, key=lambda pair: (-alike[pair], pair)):
        left, right = groups.members(one), groups.members(other)
        if left is not right and _may_join(left, right, alike, individuals):
            groups.join(one, other)
    return groups.all()


def _may_join(
    left: Sequence[int], right: Sequence[int], alike: dict[tuple[int, int], float], individuals: dict[int, str]
) -> bool:
    """Return whether every name of one group is like every name of the other, and they name no more than one individual."""
    known = {individuals[number] for number in (*left, *right) if number in individuals}
    if len(known) > 1:
        return False
    return all((min(pair), max(pair)) in alike for pair in product(left, right))


class _Groups:
    """Groups of numbers, each in ascending order, that are joined in pairs."""

    def __init__(self, size: int) -> None:
        self._of: list[list[int]] = [[number] for number in range(size)]

    def members(self, number: int) -> list[int]:
        return self._of[number]

    def join(self, one: int, other: int) -> None:
        left, right = self._of[one], self._of[other]
        if left is right:
            return
        joined = sorted((*left, *right))
        for number in joined:
            self._of[number] = joined

    def all(self) -> list[list[int]]:
        return [group for number, group in enumerate(self._of) if group[0] == number]


def _candidates(names: Sequence[_Name]) -> Iterator[tuple[int, list[int]]]:
    """Yield names with the earlier ones that may be similar enough: they share a type, all numbers, and a rare pair of letters.

    No pair above the threshold is missed. Names of a and b letters that are more than 0.85 similar have L > 0.85 (a + b) / 2
    letters in common, in their order. Each of the a - L others takes at most two of the a - 1 pairs of letters with it, each of
    b's at most one more; so at least ``_shared`` of them are common, and of the first pairs of both, by rarity, one is.
    """
    blocks: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        for kind in name.types:
            blocks[kind, name.numbers].append(number)
    for block in blocks.values():
        if len(block) < 2:
            continue
        # Counted first and made again below: kept, they would take more memory than all else.
        rarity: Counter[tuple[str, int]] = Counter(pair for number in block for pair in _bigrams(names[number].text))
        # By a pair of letters and the length of the texts that have it: most are too short or too long.
        index: dict[tuple[tuple[str, int], int], list[int]] = defaultdict(list)
        for number in block:
            length = len(names[number].text)
            rare_first = sorted(_bigrams(names[number].text), key=lambda pair: (rarity[pair], pair))
            found: set[int] = set()
            for pair in rare_first[: len(rare_first) - _shared(length) + 1]:
                for other in _lengths(length):
                    if (pair, other) in index:
                        found.update(index[pair, other])
                index[pair, length].append(number)
            if found:
                yield number, list(found)


def _bigrams(text: str) -> set[tuple[str, int]]:
    """Return the pairs of neighbouring letters, the second of its kind apart from the first."""
    counts: Counter[str] = Counter()
    found = set()
    for place in range(len(text) - 1):
        pair = text[place : place + 2]
        counts[pair] += 1
        found.add((pair, counts[pair]))
    return found


def _lengths(length: int) -> range:
    """Return the lengths that a text similar to one of this length may have."""
    return range(floor(length * SIMILAR / (2 - SIMILAR)), floor(length * (2 - SIMILAR) / SIMILAR) + 2)


@lru_cache(maxsize=1024)
def _shared(length: int) -> int:
    """Return how many of its pairs of letters a text has in common with any that is similar enough, at the least."""
    least = length - 1
    for other in _lengths(length):
        # The next whole number above the limit; a limit that is one itself is let through, in case it was rounded.
        common = floor(SIMILAR * (length + other) / 2 - 1e-9) + 1
        if common <= min(length, other):
            least = min(least, length - 1 - 2 * (length - common) - (other - common))
    return max(1, least)
