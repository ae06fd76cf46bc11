"""The gate before a cutover: whether fresh evidence of the shadows is enough, risk by risk. No evidence is never a go. Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import comb
from typing import Any, Literal

from compat.errors import InvalidInputError, Problem
from compat.parity.diff import RISKS, Risk
from compat.parity.report import ParityReport
from compat.parity.versions import Versions

GateVerdict = Literal["go", "no-go", "not enough"]
EXIT_CODES: dict[GateVerdict, int] = {"go": 0, "no-go": 1, "not enough": 2}


@dataclass(frozen=True)
class Evidence:
    """What is known of one risk.

    ``divergences`` are batches in which the engine differed; ``upper_bound`` is the upper end of their rate's one-sided
    95 % interval (Clopper and Pearson). ``stale`` reports are too old, or of other code, schema or Prefect.
    """

    risk: Risk
    kind: str
    batches: int
    documents: int
    attempts: int
    divergences: int
    upper_bound: float
    oldest: datetime | None
    newest: datetime | None
    stale: int
    verdict: GateVerdict
    reason: str


@dataclass(frozen=True)
class CutoverCheck:
    """The gate's answer: go only where every risk says go."""

    verdict: GateVerdict
    rows: tuple[Evidence, ...]
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
        return "\n".join(lines) + "\n"


def check(
    reports: Sequence[ParityReport],
    now: datetime,
    current: Versions,
    min_batches: int = 50,
    max_age: timedelta = timedelta(days=7),
) -> CutoverCheck:
    """Judges the evidence. A batch counts once, however often it was compared; any fresh divergence of it counts against."""
    if min_batches < 1:
        raise InvalidInputError([Problem("--min-batches", min_batches, "no evidence is never a go; ask for at least 1")])
    fresh = [report for report in reports if is_fresh(report, now, current, max_age)]
    rows = tuple(_evidence(risk, fresh, len(reports) - len(fresh), min_batches) for risk in RISKS)
    verdicts = {row.verdict for row in rows}
    verdict: GateVerdict = "no-go" if "no-go" in verdicts else "not enough" if "not enough" in verdicts else "go"
    return CutoverCheck(verdict, rows, current, min_batches, max_age.total_seconds())


def is_fresh(report: ParityReport, now: datetime, current: Versions, max_age: timedelta) -> bool:
    """Whether a report is young enough and speaks of today's code, schema and Prefect."""
    then = report.versions
    same = (then.code, then.schema, then.prefect) == (current.code, current.schema, current.prefect)
    return same and now - report.created_at <= max_age


def _evidence(risk: Risk, fresh: Sequence[ParityReport], stale: int, min_batches: int) -> Evidence:
    conclusive = [report for report in fresh if report.verdict != "inconclusive"]
    newest: dict[str, ParityReport] = {}
    for report in sorted(conclusive, key=lambda report: report.created_at):
        newest[report.batch_id] = report
    diverged = {report.batch_id for report in conclusive if report.counts.get(risk)}
    batches = len(newest)
    verdict: GateVerdict
    if diverged:
        verdict, reason = "no-go", f"look at: knowledge-batch parity show {min(diverged)}"
    elif batches < min_batches:
        lacking = f"{min_batches - batches} more batches wanted"
        verdict, reason = "not enough", lacking + (f"; {stale} reports are stale" if stale else "")
    else:
        verdict, reason = "go", "no divergence"
    moments = [report.created_at for report in newest.values()]
    return Evidence(
        risk=risk,
        kind="+".join(sorted({report.channel for report in newest.values()})) or "none",
        batches=batches,
        documents=sum(report.documents for report in newest.values()),
        attempts=sum(report.attempts for report in newest.values()),
        divergences=len(diverged),
        upper_bound=upper_bound(len(diverged), batches),
        oldest=min(moments, default=None),
        newest=max(moments, default=None),
        stale=stale,
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
        chance = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(hits + 1))
        low, high = (rate, high) if chance > 1 - confidence else (low, rate)
    return high


def parse_age(value: str, option: str) -> timedelta:
    """``7d``, ``12h`` or ``30m``. Raises InvalidInputError that names the option."""
    found = re.fullmatch(r"(\d+)([dhm])", value)
    if not found:
        raise InvalidInputError([Problem(option, value, "isn't an age; write a number and d, h or m, such as 7d")])
    return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[found[2]]: int(found[1])})
