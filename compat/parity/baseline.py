"""The noise of the live channel: how often legacy differs from itself, so that the engine isn't blamed for the extractor."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Self

from compat.parity.diff import Difference
from compat.parity.frames import Side

# What an extractor decides, and may decide otherwise the next time. Everything else is the runtime's, and has no noise.
NOISY = frozenset(
    {"entities", "relations", "mention_rows", "documents", "batch", "document_rows", "activity_rows", "batch_rows", "events"}
)
NEVER_NOISE = frozenset({"R2", "R4"})
Z95 = 1.96


@dataclass(frozen=True)
class Noise:
    """How often a column differed between two runs of legacy: ``differing`` of ``compared`` values."""

    differing: int
    compared: int

    @property
    def interval(self) -> tuple[float, float]:
        """The rate's 95 % interval after Wilson."""
        return wilson(self.differing, self.compared)


@dataclass(frozen=True)
class Baseline:
    """Legacy against legacy over every pair of ``runs`` runs: noise by ``frame.column``, and by document."""

    runs: int
    columns: Mapping[str, Noise]
    documents: Mapping[str, Noise]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            values["runs"],
            {name: Noise(**noise) for name, noise in values["columns"].items()},
            {name: Noise(**noise) for name, noise in values["documents"].items()},
        )

    def above_noise(self, found: Sequence[Difference], legacy: Side) -> tuple[list[Difference], int]:
        """The differences that legacy's own noise doesn't explain, and how many it does.

        A column's differences are noise where the baseline saw that column differ at all, and the lower end of their
        rate's interval isn't above the upper end of the baseline's: both rates are samples, the smaller the less they
        say. What the extractor has no hand in is never noise.
        """
        groups: defaultdict[str, list[Difference]] = defaultdict(list)
        for each in found:
            groups[column_of(each)].append(each)
        kept: list[Difference] = []
        for name, group in groups.items():
            noise = self.columns.get(name)
            rows = max(len(legacy.frames[group[0].frame]), 1)
            explained = (
                noise is not None
                and noise.differing > 0
                and group[0].frame in NOISY
                and group[0].risk not in NEVER_NOISE
                and wilson(min(len(group), rows), rows)[0] <= noise.interval[1]
            )
            if not explained:
                kept += group
        return kept, len(found) - len(kept)


def column_of(difference: Difference) -> str:
    """``frame.column``; rows that only one side has count under their kind."""
    return f"{difference.frame}.{difference.column or difference.kind}"


def measure(sides: Sequence[Side], pairs: Sequence[tuple[Side, Side, Sequence[Difference]]]) -> Baseline:
    """The baseline of the differences between pairs of legacy's own runs."""
    differing: Counter[str] = Counter()
    by_document: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    for one, other, found in pairs:
        for each in found:
            differing[column_of(each)] += 1
        by_document.update({each.document_id for each in found if each.document_id})
        for name in one.frames:
            compared[name] += max(len(one.frames[name]), len(other.frames[name]), 1)
    names = {str(name) for side in sides for name in side.frames["documents"]["document_id"]}
    return Baseline(
        len(sides),
        {name: Noise(times, max(compared[name.partition(".")[0]], times)) for name, times in sorted(differing.items())},
        {name: Noise(by_document[name], len(pairs)) for name in sorted(names)},
    )


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate; (0, 1) where nothing was tried."""
    if not trials:
        return 0.0, 1.0
    rate = hits / trials
    middle = (rate + Z95**2 / (2 * trials)) / (1 + Z95**2 / trials)
    half = Z95 * sqrt(rate * (1 - rate) / trials + Z95**2 / (4 * trials**2)) / (1 + Z95**2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)
