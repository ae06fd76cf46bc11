"""The evidence of the migration: for each risk what was built, the tests by name, the figures, and what they come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from compat.contracts import utc_now
from compat.cutover import figures, record
from compat.cutover.built import RISKS
from compat.cutover.figures import Figure, Finding, Runtime, Verdict
from compat.cutover.record import Change
from compat.cutover.triggers import TRIGGERS
from compat.errors import InvalidInputError, Problem
from compat.parity import archive, gate
from compat.parity.versions import Versions, versions
from compat.store import Store

Outcome = Literal["passed", "failed", "skipped", "not run"]
_OF_GATE: Mapping[gate.GateVerdict, Verdict] = {"go": "shown", "no-go": "contradicted", "not enough": "not enough"}


@dataclass(frozen=True)
class Test:
    """A test by its name, and what it came to in the report that was read."""

    name: str
    outcome: Outcome


@dataclass(frozen=True)
class OfRisk:
    """What is known of one risk.

    Attributes:
        risk: R1 to R9.
        title: The risk in words.
        means: What was built against it.
        tests: The tests that hold it.
        figures: What was counted, with the age and the source of each.
        verdict: What the gate or the rows come to; ``contradicted`` also where one of the tests failed.
        reason: Why.
    """

    risk: str
    title: str
    means: tuple[str, ...]
    tests: tuple[Test, ...]
    figures: tuple[Figure, ...]
    verdict: Verdict
    reason: str

    @property
    def tested(self) -> str:
        """What its tests came to, counted: ``3 passed``, or ``2 passed, 1 not run``."""
        counts = Counter(test.outcome for test in self.tests)
        return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome])


@dataclass(frozen=True)
class Evidence:
    """All of it.

    Attributes:
        at: When it was gathered.
        versions: Of what would serve.
        risks: Risk by risk.
        reports: Verdicts of the comparisons that the gate looked at, with how often each.
        agreement: Batches without and with a divergence, by risk.
        runtimes: What the work took in each runtime.
        pairs: Seconds of legacy and of the engine for the same batch, by batch id.
        drills: Drills on record, the newest first.
        changes: The last changes of who serves.
        tested_at: When the tests ran whose report was read; None without one.
    """

    at: datetime
    versions: Versions
    risks: tuple[OfRisk, ...]
    reports: dict[str, int]
    agreement: dict[str, tuple[int, int]]
    runtimes: tuple[Runtime, ...]
    pairs: dict[str, tuple[float, float]]
    drills: tuple[Change, ...]
    changes: tuple[Change, ...]
    tested_at: str | None

    @property
    def times_to_legacy(self) -> list[float]:
        """Seconds from the divergence to legacy, of each drill on record, the least first."""
        return sorted(float(drill.details["seconds_to_legacy"]) for drill in self.drills if drill.details)

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as JSON's types."""
        values = asdict(self)
        values["at"] = self.at.isoformat()
        for risk in values["risks"]:
            for figure in risk["figures"]:
                figure["at"] = figure["at"].isoformat() if figure["at"] else None
        for runtime in values["runtimes"]:
            runtime["attempts"] = {str(number): count for number, count in runtime["attempts"].items()}
        values["drills"] = [drill.to_dict() for drill in self.drills]
        values["changes"] = [change.to_dict() for change in self.changes]
        return values


def gathered(main: Store, shadows: Store, min_batches: int, max_age: str, junit: Path | None = None) -> Evidence:
    """Gather the evidence from the stores, the installed code, and a report of the tests where one is named.

    Args:
        main: Where callers' batches are.
        shadows: Where the shadows' reports are.
        min_batches: Batches that the gate wants for every risk.
        max_age: How old its evidence may be, such as 7d.
        junit: What `pytest --junitxml=FILE` wrote.
    """
    now = utc_now()
    age = gate.parse_age(max_age, "--max-age")
    since = max(now - age, record.evidence_since(main.database) or now - age)
    checked = archive.judged(main.database, shadows.database, min_batches, age, since)
    reports = archive.reports(shadows.database, since=since)
    tested_at, outcomes = read_junit(junit) if junit is not None else (None, {})
    found: dict[str, Finding] = {
        "R5": figures.repeated_work(main),
        "R6": figures.stored_errors(main),
        "R8": figures.resumes(main),
        "R9": figures.imports_of_extractors(),
    }
    found |= {str(row.risk): _of_gate(row, main) for row in checked.rows}
    runtimes = figures.runtimes(main, shadows)
    legacy, shadow = runtimes[0].seconds, runtimes[-1].seconds
    return Evidence(
        at=now,
        versions=versions(),
        risks=tuple(_of_risk(risk, found[risk], outcomes) for risk in RISKS),
        reports=dict(Counter(report.verdict for report in reports)),
        agreement={row.risk: (row.batches - row.divergences, row.divergences) for row in checked.rows},
        runtimes=runtimes,
        pairs={batch_id: (legacy[batch_id], shadow[batch_id]) for batch_id in legacy.keys() & shadow.keys()},
        drills=tuple(record.changes(main.database, None, "drill")),
        changes=tuple(record.changes(main.database, 10, *record.CHANGING)),
        tested_at=tested_at,
    )


def _of_gate(row: gate.Evidence, main: Store) -> Finding:
    trigger = next((trigger.name for trigger in TRIGGERS if trigger.risk == row.risk), None)
    source = f"knowledge_parity_report, {row.kind}"
    counted = (
        Figure("batches compared", str(row.batches), row.newest, source),
        Figure("documents", str(row.documents), row.newest, source),
        Figure("attempts, those beyond the first", f"{row.attempts}, {row.retried}", row.newest, source),
        Figure("divergences, upper 95 % bound", f"{row.divergences}, {row.upper_bound:.1%}", row.newest, source),
        *figures.checks(main, trigger),
    )
    return Finding(_OF_GATE[row.verdict], row.reason, counted)


def _of_risk(risk: str, finding: Finding, outcomes: Mapping[str, Outcome]) -> OfRisk:
    built = RISKS[risk]
    tests = tuple(Test(name, outcomes.get(name, "not run")) for name in built.tests)
    failed = [test.name for test in tests if test.outcome == "failed"]
    verdict: Verdict = "contradicted" if failed else finding.verdict
    reason = f"failed: {', '.join(failed)}" if failed else finding.reason
    return OfRisk(risk, built.title, built.means, tests, finding.figures, verdict, reason)


def read_junit(path: Path) -> tuple[str | None, dict[str, Outcome]]:
    """Return when the tests of a report ran, and what each came to; of a parametrised one the worst of its cases."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 -- the operator's own file, which pytest wrote
    except (OSError, ElementTree.ParseError) as error:
        advice = f"can't be read ({error}); write it with: pytest --junitxml={path}"
        raise InvalidInputError([Problem("--junit", str(path), advice)]) from None
    worst: dict[str, Outcome] = {}
    order: Sequence[Outcome] = ("skipped", "passed", "failed")
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
        kinds = {child.tag for child in case}
        outcome: Outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        worst[name] = max(worst.get(name, outcome), outcome, key=order.index)
    suite = next(root.iter("testsuite"), None)
    return (suite.get("timestamp") if suite is not None else None), worst


def age_of(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, in the greatest unit that fits."""
    if moment is None:
        return ""
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
