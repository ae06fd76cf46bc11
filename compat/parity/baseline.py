"""The noise of the live channel: how often legacy differs from itself, so that the engine isn't blamed for the extractor."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Self

from compat.parity.diff import Findings
from compat.parity.risks import Risk

# What no extractor has a hand in, whatever a baseline saw: how a batch ended, that it adds up to its documents, and who
# owned the retries. R4, what came in, and the rules of the contract are never noise either.
NEVER_NOISE = frozenset({"batch.terminal_event", "batch.state", "batch.adds_up", "batch_rows.status", "documents.owner"})
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
class Subject:
    """What a baseline is valid for: one ontology, one policy, one extractor and one version of the code."""

    ontology_hash: str
    policy: str
    extractor: str
    code: str


@dataclass(frozen=True)
class Baseline:
    """Legacy against legacy over every pair of ``runs`` runs: noise by ``frame.column``, and by document."""

    subject: Subject
    runs: int
    columns: Mapping[str, Noise]
    documents: Mapping[str, Noise]

    def to_dict(self) -> dict[str, Any]:
        """Return the baseline as it is stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the baseline that ``to_dict`` wrote."""
        return cls(
            Subject(**values["subject"]),
            values["runs"],
            {name: Noise(**noise) for name, noise in values["columns"].items()},
            {name: Noise(**noise) for name, noise in values["documents"].items()},
        )

    def above_noise(self, found: Findings) -> tuple[Findings, int]:
        """Return the differences that legacy's own noise doesn't explain, and how many it does.

        A column's differences are noise where the baseline saw that column differ, and the lower end of their rate's
        interval isn't above the upper end of the baseline's: both rates are samples, the smaller the less they say.
        The same must hold among the documents that ``found`` knows and that never differed in the baseline.
        """
        groups: dict[tuple[Risk, str], Counter[str | None]] = {}
        for (risk, where, document_id), count in found.counts.items():
            groups.setdefault((risk, where), Counter())[document_id] += count
        noise = {place for place, by_document in groups.items() if self._explains(*place, by_document, found)}
        kept = found.only(lambda risk, where, _: (risk, where) not in noise)
        return kept, found.total - kept.total

    def _explains(self, risk: Risk, where: str, by_document: Counter[str | None], found: Findings) -> bool:
        seen = self.columns.get(where)
        if seen is None or not seen.differing or risk == "R4" or where in NEVER_NOISE or where.startswith("contract."):
            return False
        rows = max(found.rows[where.partition(".")[0]], 1)
        if wilson(min(by_document.total(), rows), rows)[0] > seen.interval[1]:
            return False
        quiet = {name: noise for name, noise in self.documents.items() if not noise.differing and name in found.known}
        unquiet = sum(name in quiet for name in by_document)
        return wilson(unquiet, len(quiet))[0] <= wilson(0, sum(noise.compared for noise in quiet.values()))[1]


def measure(subject: Subject, runs: int, pairs: Sequence[Findings]) -> Baseline:
    """Return the baseline: how much pairs of legacy's own runs differed, and how often each document that they know did."""
    differing: Counter[str] = Counter()
    by_document: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    for found in pairs:
        for (_, where, _), count in found.counts.items():
            differing[where] += count
        by_document.update(found.by_document().keys())
        for name, rows in found.rows.items():
            compared[name] += max(rows, 1)
    names = {name for found in pairs for name in found.known}
    return Baseline(
        subject,
        runs,
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
