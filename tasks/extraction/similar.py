"""Pairs of similar names in a list of names: a similarity join that compares only pairs that may be similar enough."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

SIMILAR = 0.85

# Up to so many pairs of names it is quicker to compare all of them.
_ALL_PAIRS = 20_000
# Names in the index and names looked up in it at a time: what bounds the memory.
_INDEXED, _ASKED = 65_536, 1_024
_BUCKETS = 1 << 20
# A name's n-grams are known by a hash of 32 bits, and behind it their place in the name.
_PLACE_BITS = 31
_PLACES = np.uint64((1 << _PLACE_BITS) - 1)

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
# The places of the one, the places of the other, and how similar they are (0 to 100).
Pairs = tuple[Numbers, Numbers, NDArray[np.float64]]


def similar_pairs(names: Sequence[str]) -> Iterator[Pairs]:
    """Yield the pairs of names that are more than 0.85 similar (rapidfuzz's ratio), as arrays of places in ``names``.

    The names are distinct. No pair is missed: names are compared by length; where many names have two lengths, only those are
    compared that share enough of their letters and one of their rarer n-grams (``_Filter`` says why that is enough).
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        by_length[len(name)].append(place)
    groups = {length: _Group(names, np.array(places, dtype=np.int64)) for length, places in by_length.items()}
    for shorter, group in groups.items():
        for longer in range(shorter, floor(shorter * (2 - SIMILAR) / SIMILAR) + 2):
            common = _least_common(shorter, longer)
            # Distinct names have no more than all but one of their letters in common if they are of one length.
            if longer in groups and common <= shorter - (shorter == longer):
                yield from _between(group, groups[longer], _Filter.of(shorter, longer))


def _least_common(one: int, other: int) -> int:
    """Return how many letters, in their order, two names of these lengths have in common at the least to be similar enough."""
    # The next whole number above the limit; a limit that is one itself is let through, in case it was rounded.
    return floor(SIMILAR * (one + other) / 2 - 1e-9) + 1


@dataclass(frozen=True)
class _Filter:
    """What two names of given lengths that are similar enough have in common.

    With L letters in common of a and b, a - L are deleted from the one and b - L inserted to get the other. A deletion takes at
    most n of the a - n + 1 n-grams with it, an insertion at most n - 1. So at least ``grams`` of them are kept, and each of them
    moves at most ``back`` places to the left or ``on`` to the right. n is the largest up to 4 for which one or more are kept.

    Sort the n-grams of both by any one order, those of one kind by place. The first one kept has all others that are kept behind
    it in both names, so it is never among the last ``grams`` - 1. What is left is compared; the rarest come first here.
    """

    n: int
    grams: int
    back: int
    on: int

    @classmethod
    def of(cls, shorter: int, longer: int) -> "_Filter":
        common = _least_common(shorter, longer)
        for n in (4, 3, 2, 1):
            grams = (2 * n - 1) * common - (n - 1) * (shorter + longer) - (n - 1)
            if grams >= 1:
                break
        return cls(n, grams, shorter - common, longer - common)


class _Group:
    """The names of one length."""

    def __init__(self, names: Sequence[str], places: Numbers) -> None:
        self.places = places
        self.texts = [names[place] for place in places]
        self._letters: Words | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def letters(self) -> Words:
        """A bit for each letter of a name, the second of its kind apart from the first; several letters may have one bit."""
        if self._letters is None:
            bits = np.zeros(len(self), dtype=np.uint64)
            for start, end in self.parts():
                marks = _numbered(_mixed(self._codes(start, end))) >> np.uint64(26)
                bits[start:end] = np.bitwise_or.reduce(np.uint64(1) << marks, axis=1)
            self._letters = bits
        return self._letters

    def parts(self) -> Iterator[tuple[int, int]]:
        """Yield the ends of the parts that are indexed at a time."""
        for start in range(0, len(self), _INDEXED):
            yield start, min(start + _INDEXED, len(self))

    def count(self, n: int, counts: Numbers) -> None:
        """Add how often each n-gram occurs, by the first bits of its hash."""
        for start, end in self.parts():
            counts += np.bincount((self._grams(start, end, n) >> np.uint64(12)).ravel(), minlength=_BUCKETS)

    def rarest(self, start: int, end: int, filter: _Filter, counts: Numbers) -> Words:
        """Return the n-grams to compare of some names, a row for each name, as their hash and their place in the name."""
        grams = self._grams(start, end, filter.n)
        width = grams.shape[1]
        order = np.argsort((counts[grams >> np.uint64(12)].astype(np.uint64) << np.uint64(32)) | grams, axis=1, kind="stable")
        order = order[:, : width - filter.grams + 1]
        return np.take_along_axis(grams, order, axis=1) << np.uint64(_PLACE_BITS) | order.astype(np.uint64)

    def _grams(self, start: int, end: int, n: int) -> Words:
        codes = self._codes(start, end)
        width = codes.shape[1] - n + 1
        hashed = np.zeros((end - start, width), dtype=np.uint64)
        for offset in range(n):
            hashed = _mixed(hashed ^ codes[:, offset : offset + width])
        return hashed

    def _codes(self, start: int, end: int) -> Words:
        joined = "".join(self.texts[start:end]).encode("utf-32-le", "surrogatepass")
        return np.frombuffer(joined, dtype="<u4").reshape(end - start, -1).astype(np.uint64)


def _mixed(values: Words) -> Words:
    """Return a hash of 32 bits of each value. Two values of one hash make a pair be compared for nothing; none is missed."""
    mixed = (values + np.uint64(0x9E3779B9)) * np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    return mixed >> np.uint64(32)


def _numbered(values: Words) -> Words:
    """Return the values of each row as a set: the second of a value is told apart from the first, and so on."""
    values = np.sort(values, axis=1)
    repeat = np.zeros_like(values)
    for column in range(1, values.shape[1]):
        same = values[:, column] == values[:, column - 1]
        repeat[:, column] = np.where(same, repeat[:, column - 1] + np.uint64(1), 0)
    return _mixed(values + (repeat << np.uint64(33)))


def _between(shorter: _Group, longer: _Group, filter: _Filter) -> Iterator[Pairs]:
    """Yield the similar pairs of a name of the one and a name of the other group, or of two names of one group."""
    if len(shorter) * len(longer) <= _ALL_PAIRS:
        yield _compared_all(shorter, longer)
        return
    counts = np.zeros(_BUCKETS, dtype=np.int64)
    for group in {id(shorter): shorter, id(longer): longer}.values():
        group.count(filter.n, counts)
    for first, end in shorter.parts():
        rarest = shorter.rarest(first, end, filter, counts)
        order = np.argsort(rarest, axis=None)
        index, owners = rarest.ravel()[order], order // rarest.shape[1] + first
        for asked in range(first if longer is shorter else 0, len(longer), _ASKED):
            wanted = longer.rarest(asked, min(asked + _ASKED, len(longer)), filter, counts)
            left, right = _sharing(index, owners, wanted, filter)
            right += asked
            if longer is shorter:
                once = left < right
                left, right = left[once], right[once]
            near = np.bitwise_count(shorter.letters[left] & ~longer.letters[right]) <= filter.back
            pairs = np.unique(left[near] * len(longer) + right[near])
            yield _compared(shorter, longer, *np.divmod(pairs, len(longer)))


def _sharing(index: Words, owners: Numbers, wanted: Words, filter: _Filter) -> tuple[Numbers, Numbers]:
    """Return the pairs of an indexed name and a row of ``wanted`` that share an n-gram, once for each that they share."""
    grams, places = wanted.ravel() & ~_PLACES, (wanted.ravel() & _PLACES).astype(np.int64)
    # An n-gram of the shorter name moves `on` to the right at most, and `back` to the left.
    lowest = np.maximum(places - filter.on, 0).astype(np.uint64)
    starts = np.searchsorted(index, grams | lowest, side="left")
    sizes = np.searchsorted(index, grams | (places + filter.back).astype(np.uint64), side="right") - starts
    rows = np.repeat(np.arange(wanted.shape[0]), wanted.shape[1])
    # The places start, start + 1, … of each run in the index, one run after the other.
    before = np.cumsum(sizes) - sizes
    found = np.arange(sizes.sum()) + np.repeat(starts - before, sizes)
    return owners[found], np.repeat(rows, sizes)


def _compared(one: _Group, other: _Group, left: Numbers, right: Numbers) -> Pairs:
    scores = process.cpdist(
        [one.texts[place] for place in left],
        [other.texts[place] for place in right],
        scorer=fuzz.ratio,
        score_cutoff=SIMILAR * 100,
        dtype=np.float64,
    )
    alike = scores > SIMILAR * 100
    return one.places[left[alike]], other.places[right[alike]], scores[alike]


def _compared_all(one: _Group, other: _Group) -> Pairs:
    scores = process.cdist(one.texts, other.texts, scorer=fuzz.ratio, score_cutoff=SIMILAR * 100, dtype=np.float64)
    left, right = np.nonzero(scores > SIMILAR * 100)
    if one is other:
        once = left < right
        left, right = left[once], right[once]
    return one.places[left], other.places[right], scores[left, right]
