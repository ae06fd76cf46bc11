"""Entities that mean the same, across the documents of one or more batches (CONTRACT 9.8)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from compat.contracts import CanonicalEntity, NamedEntity
from compat.errors import OntologyParseError
from compat.ids import derived_id
from tasks.extraction.names import Attributes, Name, Names, add_values, text_of
from tasks.extraction.ontology import Ontology, parse_ontology
from tasks.extraction.similar import Numbers, similar_pairs


class Resolution:
    """Which canonical entity each name belongs to. ``merge_count`` is the number of entities that were merged into another.

    It keeps the names in a temporary database until it is closed.
    """

    def __init__(self, names: Names, groups: "_Groups", organization_id: str, count: int) -> None:
        self._names = names
        self._groups = groups
        self._organization_id = organization_id
        self.merge_count = count - len(names) + groups.joined
        # By the name, where it isn't the one that the canonical entity is called by.
        self._called: dict[str, str] = {}
        for group in groups.larger():
            members = list(names.some(group))
            text = text_of(_commonest(members))
            self._called |= {name.text: text for name in members if name.text != text}

    @property
    def entities(self) -> Iterator[CanonicalEntity]:
        """The canonical entities in the order of their first mention, made one by one."""
        for number, name in self._names.all():
            group = self._groups.members(number)
            if group[0] == number:
                yield self._merged([name] if len(group) == 1 else list(self._names.some(group)))

    def canonical_id(self, entity: NamedEntity) -> str:
        """Return the id of the canonical entity of a resolved entity."""
        text = text_of(entity.name)
        return self._id(self._called.get(text, text))

    def close(self) -> None:
        """Remove the names; canonical ids can still be asked for."""
        self._names.close()

    def _id(self, text: str) -> str:
        return derived_id("knowledge_entity", self._organization_id, "canonical", text)

    def _merged(self, names: Sequence[Name]) -> CanonicalEntity:
        """Return one entity for a group of names, given in the order of their appearance.

        Its id is derived from organization and name, so that it is the same in every batch. Its main type is the one that is
        the main one of most entities, then the earlier one.
        """
        types: dict[str, int] = {}
        attributes: Attributes = {}
        for each in names:
            for kind, count in each.types.items():
                types[kind] = types.get(kind, 0) + count
            add_values(attributes, each.attributes)
        name = _commonest(names)
        return CanonicalEntity(
            id=self._id(text_of(name)),
            name=name,
            types=tuple(sorted(types, key=lambda kind: -types[kind])),
            attributes={key: tuple(values) for key, values in attributes.items()},
            confidence=max(each.confidence for each in names),
            entity_count=sum(each.entities for each in names),
        )


def resolve(entities: Iterable[tuple[str, NamedEntity]], organization_id: str = "", ontologies: Iterable[str] = ()) -> Resolution:
    """Group entities, given as ``(document_id, entity)`` in the order of the request, and make one of each group.

    Equal names (trimmed, in lower case) are one entity. Names that are more than 0.85 similar (rapidfuzz's ratio) and share
    a type are one, unless they differ in a number or name two individuals of the ontologies. Such groups grow from the most
    similar names on, and only as long as every name is that similar to every other in its group. The labels of one individual
    are one as well. Ontologies that don't parse have no individuals.
    """
    names = Names()
    try:
        count = names.read((entity for _, entity in entities))
        return Resolution(names, _grouped(names, _individuals(names, ontologies)), organization_id, count)
    except BaseException:
        names.close()
        raise


def _commonest(names: Iterable[Name]) -> str:
    """Return the spelling of most entities, the longer and then the earlier one where several are as common."""
    spellings: dict[str, int] = {}
    for each in names:
        for spelling, count in each.spellings.items():
            spellings[spelling] = spellings.get(spelling, 0) + count
    # The first of equals: they are in the order of appearance.
    return max(spellings, key=lambda spelling: (spellings[spelling], len(spelling)))


def _individuals(names: Names, ontologies: Iterable[str]) -> dict[int, str]:
    """Return, by a name's number, the IRI of the first individual with that label."""
    found: dict[int, str] = {}
    for content in ontologies:
        try:
            ontology = parse_ontology(content)
        except OntologyParseError:
            continue
        for individual in ontology.individuals:
            for label in individual.labels:
                known = names.find(text_of(label))
                if known is not None and _is_one_of(known[1].types, individual.types, ontology):
                    found.setdefault(known[0], individual.iri)
    return found


def _is_one_of(types: Iterable[str], others: Sequence[str], ontology: Ontology) -> bool:
    return any(ontology.is_a(one, other) or ontology.is_a(other, one) for one in types for other in others)


# --- Groups -----------------------------------------------------------------------------------------------------------


def _grouped(names: Names, individuals: Mapping[int, str]) -> "_Groups":
    groups = _Groups()
    first_of: dict[str, int] = {}
    for number in sorted(individuals):
        groups.join(first_of.setdefault(individuals[number], number), number)
    alike = _Alike(names)
    for one, other in alike.most_similar_first():
        left, right = groups.members(one), groups.members(other)
        if left != right and alike.are_all(left, right) and _name_one_individual((*left, *right), individuals):
            groups.join(one, other)
    return groups


def _name_one_individual(numbers: Sequence[int], individuals: Mapping[int, str]) -> bool:
    return len({individuals[number] for number in numbers if number in individuals}) <= 1


class _Alike:
    """The pairs of names that are similar enough, share a type, and have the same numbers in them."""

    def __init__(self, names: Names) -> None:
        ones, others, scores = [], [], []
        for group in names.comparable():
            for left, right, score in similar_pairs(group):
                if len(score):
                    ones.append(np.minimum(left, right))
                    others.append(np.maximum(left, right))
                    scores.append(score)
        one, other = (np.concatenate(each) if each else np.empty(0, dtype=np.int64) for each in (ones, others))
        # A pair that shares two types was found twice.
        self._pairs, first = np.unique(self._key(one, other), return_index=True)
        self._scores = (np.concatenate(scores) if scores else np.empty(0))[first]

    @staticmethod
    def _key(one: Numbers, other: Numbers) -> Numbers:
        return one << 32 | other

    def most_similar_first(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs, the lower number first; those that are as similar as others in the order of their numbers."""
        for key in self._pairs[np.argsort(-self._scores, kind="stable")].tolist():
            yield key >> 32, key & 0xFFFFFFFF

    def are_all(self, left: Sequence[int], right: Sequence[int]) -> bool:
        """Return whether each name of the one is like each of the other."""
        keys = np.array([min(pair) << 32 | max(pair) for pair in product(left, right)], dtype=np.int64)
        places = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        return bool((self._pairs[places] == keys).all())


class _Groups:
    """Groups of numbers, each in ascending order, that are joined in pairs; a number that was never joined is alone."""

    def __init__(self) -> None:
        self._of: dict[int, list[int]] = {}
        # How many numbers have gone into a group of another.
        self.joined = 0

    def members(self, number: int) -> list[int]:
        return self._of.get(number) or [number]

    def join(self, one: int, other: int) -> None:
        left, right = self.members(one), self.members(other)
        if left == right:
            return
        self.joined += 1
        joined = sorted((*left, *right))
        for number in joined:
            self._of[number] = joined

    def larger(self) -> Iterator[list[int]]:
        """Yield the groups of two and more."""
        return (group for number, group in self._of.items() if group[0] == number and len(group) > 1)
