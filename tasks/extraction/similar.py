"""Pairs of similar names in a list of names: a similarity join that compares only pairs that may be similar enough."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

SIMILAR = 0.85

# Up to so many pairs of names it is quicker to compare all of them.
_ALL_PAIRS = 20_000
# Names that are joined into one string at a time.
_JOINED = 1_000
# Names in the index, names looked up in it, and names hashed at a time: what bounds the memory.
_INDEXED, _ASKED, _HASHED = 65_536, 1_024, 8_192
_BUCKETS = 1 << 20
# A name's n-grams are known by a hash of 32 bits, and behind it their place in the name.
_PLACE_BITS = 31
_PLACES = np.uint64((1 << _PLACE_BITS) - 1)

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
# The numbers of the one, the numbers of the other, and how similar they are (0 to 100).
Pairs = tuple[Numbers, Numbers, NDArray[np.float64]]


def similar_pairs(names: Iterable[tuple[int, str]]) -> Iterator[Pairs]:
    """Yield the pairs of names, given with a number each, that are more than 0.85 similar (rapidfuzz's ratio), by their numbers.

    The names are distinct. No pair is missed: names are compared by length; where many names have two lengths, only those are
    compared that share enough of their letters and one of their rarer n-grams (``_Filter`` says why that is enough).
    """
    by_length: dict[int, _Gathered] = defaultdict(_Gathered)
    for number, name in names:
        by_length[len(name)].add(number, name)
    groups = {length: _Group(length, by_length.pop(length)) for length in sorted(by_length)}
    for shorter, group in groups.items():
        for longer in range(shorter, floor(shorter * (2 - SIMILAR) / SIMILAR) + 2):
            common = _least_common(shorter, longer)
            # Distinct names have no more than all but one of their letters in common if they are of one length.
            if longer in groups and common <= shorter - (shorter == longer):
                yield from _between(group, groups[longer], _Filter.of(shorter, longer))


class _Gathered:
    """Names of one length while they are read: joined now and then, for a string of its own takes four times a name's bytes."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self._joined: list[str] = []
        self._some: list[str] = []

    def add(self, number: int, name: str) -> None:
        self.numbers.append(number)
        self._some.append(name)
        if len(self._some) >= _JOINED:
            self._joined.append("".join(self._some))
            self._some = []

    @property
    def text(self) -> str:
        return "".join((*self._joined, *self._some))


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
    """The names of one length, in one string."""

    def __init__(self, length: int, names: _Gathered) -> None:
        self.length = length
        self.numbers = np.frombuffer(names.numbers, dtype=np.int64)
        self._text = names.text
        self._letters: Words | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def texts(self, places: Iterable[int]) -> list[str]:
        """Return the names at these places."""
        return [self._text[place * self.length : (place + 1) * self.length] for place in places]

    @property
    def letters(self) -> Words:
        """A bit for each letter of a name, the second of its kind apart from the first; several letters may have one bit."""
        if self._letters is None:
            bits = np.zeros(len(self), dtype=np.uint64)
            for start, end in self.parts(_HASHED):
                marks = _numbered(_mixed(self._codes(start, end))) >> np.uint64(26)
                bits[start:end] = np.bitwise_or.reduce(np.uint64(1) << marks, axis=1)
            self._letters = bits
        return self._letters

    def parts(self, size: int, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the ends of parts of so many names."""
        end = len(self) if end is None else end
        for first in range(start, end, size):
            yield first, min(first + size, end)

    def count(self, n: int, counts: Numbers) -> None:
        """Add how often each n-gram occurs, by the first bits of its hash."""
        for start, end in self.parts(_HASHED):
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
        joined = self._text[start * self.length : end * self.length].encode("utf-32-le", "surrogatepass")
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
    for first, end in shorter.parts(_INDEXED):
        hashed = (shorter.rarest(*part, filter, counts) for part in shorter.parts(_HASHED, first, end))
        rarest = np.concatenate(list(hashed))
        order = np.argsort(rarest, axis=None)
        index, owners = rarest.ravel()[order], order // rarest.shape[1] + first
        for asked, to in longer.parts(_ASKED, first if longer is shorter else 0):
            wanted = longer.rarest(asked, to, filter, counts)
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
        one.texts(left.tolist()),
        other.texts(right.tolist()),
        scorer=fuzz.ratio,
        score_cutoff=SIMILAR * 100,
        dtype=np.float64,
    )
    alike = scores > SIMILAR * 100
    return one.numbers[left[alike]], other.numbers[right[alike]], scores[alike]


def _compared_all(one: _Group, other: _Group) -> Pairs:
    scores = process.cdist(
        one.texts(range(len(one))),
        other.texts(range(len(other))),
        scorer=fuzz.ratio,
        score_cutoff=SIMILAR * 100,
        dtype=np.float64,
    )
    left, right = np.nonzero(scores > SIMILAR * 100)
    if one is other:
        once = left < right
        left, right = left[once], right[once]
    return one.numbers[left], other.numbers[right], scores[left, right]
