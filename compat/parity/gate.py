"""The gate before a cutover: whether fresh evidence of the shadows is enough, risk by risk. No evidence is never a go. Pure."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import exp, lgamma, log, log1p
from typing import Any, Literal

from compat.errors import InvalidInputError, Problem
from compat.markdown import escaped
from compat.parity.report import ParityReport
from compat.parity.risks import RISKS, Risk, frames_of
from compat.parity.versions import Versions
from compat.policy import RetryOwner, retry_owner

# How far the clocks of two machines may be apart, and a report of now still be no report of the future.
CLOCKS = timedelta(seconds=5)
# Retries that must have been seen of every owner of retries in use.
MIN_RETRIES = 20

GateVerdict = Literal["go", "no-go", "not enough"]
EXIT_CODES: dict[GateVerdict, int] = {"go": 0, "no-go": 1, "not enough": 2}


@dataclass(frozen=True)
class Served:
    """What callers' batches were served with in the window: a go needs evidence of all of it.

    Attributes:
        policies: The failure policies.
        owners: The owners of retries, of batches that may be retried at all.
    """

    policies: frozenset[str] = frozenset()
    owners: frozenset[RetryOwner] = frozenset()


@dataclass(frozen=True)
class Evidence:
    """What is known of one risk.

    Attributes:
        risk: The risk.
        kind: The channels that the evidence came by.
        batches: Batches compared; those of the same documents under one policy are one.
        documents: Documents in them.
        attempts: Attempts in them.
        retried: Attempts beyond each document's first.
        policies: The failure policies of the batches.
        divergences: Batches in which the engine differed.
        upper_bound: The upper end of their rate's one-sided 95 % interval (Clopper and Pearson).
        oldest: When the oldest of the batches was compared.
        newest: When the newest was.
        stale: Reports that are too old, or of other code, schema or Prefect.
        inconclusive: Reports that could not compare.
        verdict: Whether this is enough.
        reason: Why, or what is missing.
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
    """The gate's answer.

    Attributes:
        verdict: Go only where every risk says go, every shadow that was submitted has reported, and no report is of the future.
        rows: The evidence, risk by risk.
        unreported: Batches whose shadow was submitted and has not reported.
        future: Ids of reports that are dated in the future.
        versions: Of what would serve.
        min_batches: Batches wanted for every risk.
        max_age_seconds: How old evidence may be.
    """

    verdict: GateVerdict
    rows: tuple[Evidence, ...]
    unreported: tuple[str, ...]
    future: tuple[str, ...]
    versions: Versions
    min_batches: int
    max_age_seconds: float

    @property
    def exit_code(self) -> int:
        """0 go, 1 no-go, 2 not enough or stale evidence."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON's types."""
        values = asdict(self)
        for row in values["rows"]:
            for name in ("oldest", "newest"):
                row[name] = row[name].isoformat() if row[name] else None
        return {**values, "exit_code": self.exit_code}

    def to_markdown(self) -> str:
        """Return the check as a Markdown page."""
        lines = [f"# {self.verdict.capitalize()}", ""]
        lines += ["| risk | evidence | divergences | upper 95 % bound | verdict |", "|---|---|---:|---:|---|"]
        lines += [
            f"| {row.risk}: {RISKS[row.risk]} "
            f"| {escaped(row.kind)}: {row.batches} batches, {row.documents} documents, {row.attempts} attempts "
            f"| {row.divergences} | {row.upper_bound:.1%} | {row.verdict}: {escaped(row.reason)} |"
            for row in self.rows
        ]
        lines += [line for text in self.missing for line in ("", escaped(text))]
        return "\n".join(lines) + "\n"

    @property
    def missing(self) -> tuple[str, ...]:
        """What else keeps the gate shut, besides the evidence, in sentences."""
        found = []
        if self.unreported:
            again = f"prefect deployment run shadow-batch/shadow --param batch_id={shlex.quote(self.unreported[0])}"
            shadows = f"{len(self.unreported)} shadows were submitted and have not reported"
            found.append(f"{shadows}, so there is no go; wait, or: {again}")
        if self.future:
            show = f"knowledge-batch parity show {shlex.quote(self.future[0])}"
            reports = f"{len(self.future)} reports are dated in the future"
            found.append(f"{reports}, so there is no go; set the clocks right and compare again: {show}")
        return tuple(found)


def check(
    reports: Sequence[ParityReport],
    now: datetime,
    current: Versions,
    min_batches: int = 50,
    max_age: timedelta = timedelta(days=7),
    older: int = 0,
    unreported: Sequence[str] = (),
    served: Served = Served(),
) -> CutoverCheck:
    """Judge the evidence.

    A batch counts once, however often it was compared and under whatever ids its documents came; any fresh divergence of it
    counts against, and so does a report that is dated in the future, which never counts for a go.

    Args:
        reports: The reports; those that are stale don't count.
        now: The moment.
        current: The versions of what would serve.
        min_batches: Batches wanted for every risk.
        max_age: How old evidence may be.
        older: How many reports there are that were too old to be read at all.
        unreported: Batches whose shadow was submitted and has not reported: it waits, or died. No evidence is never a go.
        served: What callers' batches were served with; of the reports' own policies evidence is wanted too.
    """
    if min_batches < 1:
        raise InvalidInputError([Problem("--min-batches", min_batches, "no evidence is never a go; ask for at least 1")])
    fresh = [report for report in reports if is_fresh(report, now, current, max_age)]
    future = [report for report in reports if report.created_at - now > CLOCKS]
    stale = older + len(reports) - len(fresh) - len(future)
    wanted = Served(
        served.policies | {report.policy for report in fresh},
        # Where callers' batches under a policy may not be retried, that policy has no owner of retries.
        served.owners | {retry_owner(each.policy) for each in fresh if each.retries or each.policy not in served.policies},
    )
    diverged = [report for report in future if report.verdict == "diverged"]
    rows = tuple(_evidence(risk, fresh, diverged, stale, min_batches, wanted) for risk in RISKS)
    verdicts = {row.verdict for row in rows} | ({"not enough"} if unreported or future else set())
    verdict: GateVerdict = "no-go" if "no-go" in verdicts else "not enough" if "not enough" in verdicts else "go"
    ids = tuple(report.report_id for report in future)
    return CutoverCheck(verdict, rows, tuple(unreported), ids, current, min_batches, max_age.total_seconds())


def is_fresh(report: ParityReport, now: datetime, current: Versions, max_age: timedelta) -> bool:
    """Return whether a report is recent enough and of the present code, schema and Prefect."""
    then = report.versions
    same = (then.code, then.schema, then.prefect) == (current.code, current.schema, current.prefect)
    return same and -CLOCKS <= now - report.created_at <= max_age


def _evidence(
    risk: Risk, fresh: Sequence[ParityReport], future: Sequence[ParityReport], stale: int, min_batches: int, wanted: Served
) -> Evidence:
    """Return what is known of a risk. ``future`` are diverged reports that are dated in the future."""
    conclusive = [report for report in fresh if report.verdict != "inconclusive"]
    newest: dict[tuple[str, str], ParityReport] = {}
    for report in sorted(conclusive, key=lambda report: report.created_at):
        if report.counts.get(risk) or any(report.stages[name].rows for name in frames_of(risk) if name in report.stages):
            # Two empty frames are equal, and say nothing.
            newest[_content(report)] = report
    diverged = {_content(report): report.report_id for report in (*conclusive, *future) if report.counts.get(risk)}
    batches = len(newest)
    documents = sum(report.documents for report in newest.values())
    attempts = sum(report.attempts for report in newest.values())
    policies = tuple(sorted({report.policy for report in newest.values()}))
    inconclusive = len(fresh) - len(conclusive)
    lacking = _lacking(risk, tuple(newest.values()), min_batches, wanted)
    retried = sum(report.retries for report in newest.values())
    verdict: GateVerdict
    if diverged:
        verdict, reason = "no-go", f"look at: knowledge-batch parity show {diverged[min(diverged)]}"
    elif lacking:
        others = [
            f"{count} {'report is' if count == 1 else 'reports are'} {what}"
            for count, what in ((stale, "stale"), (inconclusive, "inconclusive"))
            if count
        ]
        verdict, reason = "not enough", "; ".join([*lacking, *others])
    else:
        verdict, reason = "go", f"no divergence under {', '.join(policies)}; {retried} retries"
    moments = [report.created_at for report in newest.values()]
    return Evidence(
        risk=risk,
        kind="+".join(sorted({report.channel for report in newest.values()})) or "none",
        batches=batches,
        documents=documents,
        attempts=attempts,
        retried=retried,
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


def _content(report: ParityReport) -> tuple[str, str]:
    """Return what makes a batch count once: its documents and its policy, whatever its id. Older reports have only the id."""
    return report.content_hash or report.batch_id, report.policy


def _lacking(risk: Risk, batches: Sequence[ParityReport], min_batches: int, wanted: Served) -> list[str]:
    """Return what a risk still lacks for a go: batches, every policy in use, and for R2 retries by every owner in use."""
    lack = min_batches - len(batches)
    found = [f"{lack} more {'batch' if lack == 1 else 'batches'} wanted"] if lack > 0 else []
    without = sorted(wanted.policies - {report.policy for report in batches})
    if without:
        found.append(f"no batch compared under {', '.join(without)}")
    for owner in sorted(wanted.owners) if risk == "R2" else ():
        seen = sum(report.retries for report in batches if retry_owner(report.policy) == owner)
        if seen < MIN_RETRIES:
            found.append(f"{seen} retries by the owner {owner} seen, {MIN_RETRIES} wanted")
    return found


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper bound of a rate (Clopper and Pearson): the rate at which so few hits have a chance of 5 %."""
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
    found = re.fullmatch(r"(\d{1,5})([dhm])", value)
    if not found:
        raise InvalidInputError(
            [Problem(option, value, "isn't an age; write a number and d, h or m, such as 7d, of 5 digits at most")]
        )
    return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[found[2]]: int(found[1])})
