"""The gate before a cutover: whether fresh evidence of the shadows is enough, risk by risk. No evidence is never a go. Pure."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import exp, lgamma, log, log1p
from typing import Any, Literal

from compat.errors import InvalidInputError, Problem
from compat.parity.diff import RISKS, Risk, frames_of
from compat.parity.report import ParityReport
from compat.parity.versions import Versions

# How far the clocks of two machines may be apart.
CLOCKS = timedelta(minutes=5)

GateVerdict = Literal["go", "no-go", "not enough"]
EXIT_CODES: dict[GateVerdict, int] = {"go": 0, "no-go": 1, "not enough": 2}


@dataclass(frozen=True)
class Evidence:
    """What is known of one risk.

    ``divergences`` are batches in which the engine differed; ``upper_bound`` is the upper end of their rate's one-sided
    95 % interval (Clopper and Pearson). ``stale`` reports are too old, or of other code, schema or Prefect;
    ``inconclusive`` ones could not compare. ``retried`` counts the attempts beyond each document's first.
    """

    risk: Risk
    kind: str
    batches: int
    documents: int
    attempts: int
    retried: int
    policies: tuple[str, ...]
    divergences: int
    upper_bound: float
    oldest: datetime | None
    newest: datetime | None
    stale: int
    inconclusive: int
    verdict: GateVerdict
    reason: str


@dataclass(frozen=True)
class CutoverCheck:
    """The gate's answer: go only where every risk says go, and every shadow that was submitted has reported."""

    verdict: GateVerdict
    rows: tuple[Evidence, ...]
    unreported: tuple[str, ...]
    versions: Versions
    min_batches: int
    max_age_seconds: float

    @property
    def exit_code(self) -> int:
        """0 go, 1 no-go, 2 not enough or stale evidence."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        for row in values["rows"]:
            for name in ("oldest", "newest"):
                row[name] = row[name].isoformat() if row[name] else None
        return {**values, "exit_code": self.exit_code}

    def to_markdown(self) -> str:
        lines = [f"# {self.verdict.capitalize()}", ""]
        lines += ["| risk | evidence | divergences | upper 95 % bound | verdict |", "|---|---|---:|---:|---|"]
        lines += [
            f"| {row.risk}: {RISKS[row.risk]} "
            f"| {row.kind}: {row.batches} batches, {row.documents} documents, {row.attempts} attempts "
            f"| {row.divergences} | {row.upper_bound:.1%} | {row.verdict}: {row.reason} |"
            for row in self.rows
        ]
        if self.unreported:
            lines += ["", self.missing]
        return "\n".join(lines) + "\n"

    @property
    def missing(self) -> str:
        """What is said of shadows that have not reported."""
        first = self.unreported[0] if self.unreported else ""
        again = f"prefect deployment run shadow-batch/shadow --param batch_id={shlex.quote(first)}"
        return f"{len(self.unreported)} shadows were submitted and have not reported, so there is no go; wait, or: {again}"


def check(
    reports: Sequence[ParityReport],
    now: datetime,
    current: Versions,
    min_batches: int = 50,
    max_age: timedelta = timedelta(days=7),
    older: int = 0,
    unreported: Sequence[str] = (),
) -> CutoverCheck:
    """Judges the evidence. A batch counts once, however often it was compared; any fresh divergence of it counts against.

    Args:
        reports: The reports; those that are stale don't count.
        now: The moment.
        current: The versions of what would serve.
        min_batches: Batches wanted for every risk.
        max_age: How old evidence may be.
        older: How many reports there are that were too old to be read at all.
        unreported: Batches whose shadow was submitted and has not reported: it waits, or died. No evidence is never a go.
    """
    if min_batches < 1:
        raise InvalidInputError([Problem("--min-batches", min_batches, "no evidence is never a go; ask for at least 1")])
    fresh = [report for report in reports if is_fresh(report, now, current, max_age)]
    stale = older + len(reports) - len(fresh)
    rows = tuple(_evidence(risk, fresh, stale, min_batches) for risk in RISKS)
    verdicts = {row.verdict for row in rows} | ({"not enough"} if unreported else set())
    verdict: GateVerdict = "no-go" if "no-go" in verdicts else "not enough" if "not enough" in verdicts else "go"
    return CutoverCheck(verdict, rows, tuple(unreported), current, min_batches, max_age.total_seconds())


def is_fresh(report: ParityReport, now: datetime, current: Versions, max_age: timedelta) -> bool:
    """Whether a report is young enough and speaks of today's code, schema and Prefect."""
    then = report.versions
    same = (then.code, then.schema, then.prefect) == (current.code, current.schema, current.prefect)
    # One from the future was written by a clock that nobody should go by.
    return same and -CLOCKS <= now - report.created_at <= max_age


def _evidence(risk: Risk, fresh: Sequence[ParityReport], stale: int, min_batches: int) -> Evidence:
    conclusive = [report for report in fresh if report.verdict != "inconclusive"]
    newest: dict[str, ParityReport] = {}
    for report in sorted(conclusive, key=lambda report: report.created_at):
        if report.counts.get(risk) or any(report.stages[name].rows for name in frames_of(risk) if name in report.stages):
            # Two empty frames are equal, and say nothing.
            newest[report.batch_id] = report
    diverged = {report.batch_id: report.report_id for report in conclusive if report.counts.get(risk)}
    batches = len(newest)
    documents = sum(report.documents for report in newest.values())
    attempts = sum(report.attempts for report in newest.values())
    policies = tuple(sorted({report.policy for report in newest.values()}))
    inconclusive = len(fresh) - len(conclusive)
    verdict: GateVerdict
    if diverged:
        verdict, reason = "no-go", f"look at: knowledge-batch parity show {diverged[min(diverged)]}"
    elif batches < min_batches:
        others = [f"{count} reports are {what}" for count, what in ((stale, "stale"), (inconclusive, "inconclusive")) if count]
        verdict, reason = "not enough", "; ".join([f"{min_batches - batches} more batches wanted", *others])
    else:
        retried = f"{attempts - documents} retries" if attempts > documents else "and nothing was retried"
        verdict, reason = "go", f"no divergence under {', '.join(policies)}; {retried}"
    moments = [report.created_at for report in newest.values()]
    return Evidence(
        risk=risk,
        kind="+".join(sorted({report.channel for report in newest.values()})) or "none",
        batches=batches,
        documents=documents,
        attempts=attempts,
        retried=attempts - documents,
        policies=policies,
        divergences=len(diverged),
        upper_bound=upper_bound(len(diverged), batches),
        oldest=min(moments, default=None),
        newest=max(moments, default=None),
        stale=stale,
        inconclusive=inconclusive,
        verdict=verdict,
        reason=reason,
    )


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a rate after Clopper and Pearson: the rate at which so few hits have a chance of 5 %."""
    if trials == 0 or hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        chance = sum(exp(_log_of_chance(k, trials, rate)) for k in range(hits + 1))
        low, high = (rate, high) if chance > 1 - confidence else (low, rate)
    return high


def _log_of_chance(hits: int, trials: int, rate: float) -> float:
    # By logarithms: of thousands of batches the ways to choose some are more than a float holds.
    ways = lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1)
    return ways + hits * log(rate) + (trials - hits) * log1p(-rate)


def parse_age(value: str, option: str) -> timedelta:
    """``7d``, ``12h`` or ``30m``. Raises InvalidInputError that names the option."""
    found = re.fullmatch(r"(\d+)([dhm])", value)
    if not found:
        raise InvalidInputError([Problem(option, value, "isn't an age; write a number and d, h or m, such as 7d")])
    return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[found[2]]: int(found[1])})
