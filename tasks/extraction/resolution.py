"""Entities that mean the same, across a batch's documents (CONTRACT 9.8)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process

from compat.contracts import Entity

SIMILAR = 0.85
# Texts compared at a time, against all longer ones that may be similar: bounds the memory to a few MB.
_BLOCK = 512


@dataclass(frozen=True)
class Resolution:
    """Where each entity went: ``canonical`` maps every entity id to the id of the first entity of its group.

    ``merge_count`` is the number of entities that were merged into another.
    """

    canonical: dict[str, str]
    merge_count: int


def resolve(entities: Iterable[tuple[str, Entity]]) -> Resolution:
    """Groups the entities of a batch, given as ``(document_id, entity)`` in the order of the request.

    Two are the same if their trimmed lower-case names are equal, or are more than 0.85 similar (rapidfuzz's ratio)
    and the entities share a type; so are two that are each the same as a third.
    """
    nodes = [entity for _, entity in entities]
    groups = _Groups(len(nodes))
    by_text: dict[str, list[int]] = defaultdict(list)
    for number, entity in enumerate(nodes):
        by_text[entity.name.strip().lower()].append(number)
    by_type: dict[str, dict[str, int]] = defaultdict(dict)
    for text, numbers in by_text.items():
        for number in numbers:
            groups.join(numbers[0], number)
            # Entities of one text are one group already, so one of them for each type stands for all.
            for kind in nodes[number].types:
                by_type[kind].setdefault(text, number)
    for texts in by_type.values():
        for one, other in _similar(sorted(texts, key=lambda text: (len(text), text))):
            groups.join(texts[one], texts[other])
    canonical: dict[str, str] = {}
    for number, entity in enumerate(nodes):
        canonical.setdefault(entity.id, nodes[groups.first_of(number)].id)
    return Resolution(canonical, sum(own != to for own, to in canonical.items()))


def _similar(texts: list[str]) -> Iterable[tuple[str, str]]:
    """Pairs of more than ``SIMILAR``, from texts sorted by length."""
    lengths = np.array([len(text) for text in texts])
    for begin in range(0, len(texts), _BLOCK):
        block = texts[begin : begin + _BLOCK]
        # ratio = 1 - indel distance / sum of lengths, so the longer text may have at most this many times the
        # characters of the shorter one; whatever is longer needs no look.
        longest = len(block[-1]) * (2 - SIMILAR) / SIMILAR
        end = int(np.searchsorted(lengths, longest, side="right"))
        others = texts[begin:end]
        scores = process.cdist(block, others, scorer=fuzz.ratio, score_cutoff=SIMILAR * 100, workers=1, dtype=np.float64)
        for row, column in zip(*np.nonzero(scores > SIMILAR * 100), strict=True):
            if column > row:
                yield block[row], others[column]


class _Groups:
    """Union-find in which the lowest number stands for its group."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def first_of(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    def join(self, one: int, other: int) -> None:
        one, other = sorted((self.first_of(one), self.first_of(other)))
        self._parent[other] = one
