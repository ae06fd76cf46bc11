"""The parity report: whether the engine did what legacy did with one batch, and if not, where. Frozen, and renders itself."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from html import escape
from typing import Any, Literal, Self

from compat.contracts import utc_now
from compat.ids import content_hash, new_id
from compat.parity.baseline import Baseline
from compat.parity.diff import APPROVED, RISKS, Difference, Findings, Ignore, Risk, Rules, Tolerance, compare_pairs
from compat.parity.frames import KEYS, pairs
from compat.parity.tape import tape_gaps
from compat.parity.versions import Versions, versions
from compat.store import Store

Channel = Literal["tape", "live"]
Verdict = Literal["parity", "diverged", "inconclusive"]


@dataclass(frozen=True)
class Stage:
    """How much of one frame was compared, and how many differences it has. ``rows`` are those of the side with more."""

    rows: int
    differences: int


@dataclass(frozen=True)
class ParityReport:
    """One comparison. ``samples`` are up to 20 differences a risk; ``by_document`` counts them for each document that has any."""

    batch_id: str
    channel: str
    verdict: Verdict
    headline: str
    policy: str
    documents: int
    attempts: int
    counts: Mapping[Risk, int]
    samples: Mapping[Risk, Sequence[Difference]]
    by_document: Mapping[str, int]
    stages: Mapping[str, Stage]
    rules: Rules
    expired: Sequence[str]
    versions: Versions
    ontology_hash: str
    policy_hash: str
    created_at: datetime = field(default_factory=utc_now)
    duration_seconds: float = 0.0
    noise: int = 0
    # How often the batch had been resumed.
    generation: int = 0
    report_id: str = field(default_factory=lambda: new_id("knowledge_parity_report"))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; ``from_dict`` takes it back."""
        values = asdict(self)
        values["created_at"] = self.created_at.isoformat()
        for rule in values["rules"]["ignores"]:
            rule["expires"] = rule["expires"].isoformat()
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that was stored. A field that it has and this version doesn't know is left out."""
        rules = values["rules"]
        ignores = [Ignore(**{**rule, "expires": datetime.fromisoformat(rule["expires"]).date()}) for rule in rules["ignores"]]
        known = {each.name for each in fields(cls)}
        return cls(
            **{
                **{name: value for name, value in values.items() if name in known},
                "samples": {
                    risk: tuple(Difference(**{**each, "key": tuple(each["key"])}) for each in found)
                    for risk, found in values["samples"].items()
                },
                "stages": {name: Stage(**stage) for name, stage in values["stages"].items()},
                "rules": Rules(tuple(Tolerance(**rule) for rule in rules["tolerances"]), tuple(ignores)),
                "versions": Versions(**values["versions"]),
                "expired": tuple(values["expired"]),
                "created_at": datetime.fromisoformat(values["created_at"]),
            }
        )

    def to_markdown(self) -> str:
        """For Prefect's artifacts and terminals: the verdict first, then where, then how much there was to see."""
        lines = [f"# {self.verdict.capitalize()}: {self.headline}", ""]
        differing = [risk for risk in RISKS if self.counts.get(risk)]
        if differing:
            # What differs before what it means: a page cuts a wide table at its right.
            lines += ["| risk | differences | first of them | about |", "|---|---:|---|---|"]
            lines += [
                f"| {risk} | {self.counts[risk]} | {_cell(_told(self.samples[risk][0]))} | {RISKS[risk]} |" for risk in differing
            ]
            lines.append("")
        # The first figure as the table's head: an empty one shows as an empty row.
        figures = [f"| {name} | {_cell(str(value))} |" for name, value in self._figures()]
        lines += [figures[0], "|---|---|", *figures[1:]]
        return "\n".join(lines) + "\n"

    def _figures(self) -> list[tuple[str, object]]:
        return [
            ("batch", self.batch_id),
            ("channel", self.channel),
            ("policy", self.policy),
            ("documents compared", self.documents),
            ("attempts compared", self.attempts),
            ("documents that differ", len(self.by_document)),
            *([("differences within the baseline's noise", self.noise)] if self.channel == "live" else []),
            ("rules", _rules_told(self.rules, self.expired)),
            ("versions", ", ".join(f"{name} {value}" for name, value in self.versions.to_dict().items())),
            ("hashes", f"ontology {self.ontology_hash[:16]}, policy {self.policy_hash}"),
            ("compared at", f"{self.created_at:%Y-%m-%d %H:%M:%S} UTC, in {self.duration_seconds:.2f} s"),
        ]

    def differences_table(self) -> list[dict[str, str]]:
        """The samples as rows, for a table."""
        return [
            {
                "risk": each.risk,
                "kind": each.kind,
                "where": _where(each),
                "legacy": each.legacy or "",
                "engine": each.engine or "",
            }
            for risk in RISKS
            for each in self.samples.get(risk, ())
        ]

    def to_html(self) -> str:
        """One page that needs nothing beside it."""
        return page([self])


def compare_batch(
    legacy: Store,
    engine: Store,
    batch_id: str,
    channel: Channel = "tape",
    rules: Rules = APPROVED,
    baseline: Baseline | None = None,
) -> ParityReport:
    """Compares what two stores hold of a batch.

    Args:
        legacy: The store that served the batch.
        engine: The shadow's store, which should have the batch under the same id; one that lost it differs in all of it.
        batch_id: Raises BatchNotFoundError where legacy has none.
        channel: ``tape``: every difference counts. ``live``: the extractor ran again, so differences in what it
            gives count only above the noise of the baseline.
        rules: Tolerances and columns that are left out; what is approved, if anything, by default.
        baseline: Legacy against legacy; without one a live comparison with differences is inconclusive.
    """
    began = time.monotonic()
    empty = _report(legacy, batch_id, channel, rules)
    found = compare_pairs(pairs(legacy, engine, batch_id), rules, empty.created_at.date())
    noise = 0
    if channel == "live" and baseline is not None:
        found, noise = baseline.above_noise(found)
    by_frame = found.by_frame()
    gaps = tape_gaps(legacy, batch_id) if channel == "tape" else 0
    verdict, headline = _verdict(found, channel, baseline, gaps)
    return replace(
        empty,
        verdict=verdict,
        headline=headline,
        documents=len(found.documents),
        attempts=found.attempts["legacy"],
        counts=found.by_risk(),
        samples={risk: found.first(risk) for risk in RISKS if found.first(risk)},
        by_document=found.by_document(),
        stages={name: Stage(found.rows[name], by_frame[name]) for name in KEYS},
        duration_seconds=time.monotonic() - began,
        noise=noise,
    )


def no_comparison(legacy: Store, batch_id: str, channel: Channel, reason: str) -> ParityReport:
    """The report of a batch that could not be compared, which is no evidence. Raises BatchNotFoundError."""
    return replace(_report(legacy, batch_id, channel, APPROVED), headline=reason)


def engine_failed(legacy: Store, batch_id: str, channel: Channel, error: Exception) -> ParityReport:
    """The report of a batch that legacy served and the engine's machinery failed on. Raises BatchNotFoundError."""
    told = f"{type(error).__name__}: {error}"
    state = type(legacy.state(batch_id)).__name__
    difference = Difference("R1", "changed", "batch", (batch_id,), "state", state, f"the engine failed: {told}")
    return replace(
        _report(legacy, batch_id, channel, APPROVED),
        verdict="diverged",
        headline=f"the engine failed on it: {told}",
        counts={**dict.fromkeys(RISKS, 0), "R1": 1},
        samples={"R1": (difference,)},
    )


def _report(legacy: Store, batch_id: str, channel: Channel, rules: Rules) -> ParityReport:
    """What is the same in every report of a batch, before anything was compared."""
    now, config = utc_now(), legacy.config(batch_id)
    return ParityReport(
        batch_id=batch_id,
        channel=channel,
        verdict="inconclusive",
        headline="nothing was compared",
        policy=config.failure_policy.value,
        documents=0,
        attempts=0,
        counts=dict.fromkeys(RISKS, 0),
        samples={},
        by_document={},
        stages={name: Stage(0, 0) for name in KEYS},
        rules=rules,
        expired=tuple(f"{rule.frame}.{rule.column}" for rule in rules.expired(now.date())),
        versions=versions(),
        ontology_hash=legacy.ontologies_hash(batch_id),
        policy_hash=content_hash(config.model_dump_json())[:16],
        created_at=now,
        generation=legacy.batch(batch_id).generation,
    )


def _verdict(found: Findings, channel: Channel, baseline: Baseline | None, gaps: int) -> tuple[Verdict, str]:
    documents, attempts = len(found.documents), found.attempts["legacy"]
    if gaps:
        return "inconclusive", f"the tape lacks {gaps} of legacy's attempts, so the engine could not do the same"
    if found.total and channel == "live" and baseline is None:
        measure = "measure one: knowledge-batch parity baseline SOURCE"
        return "inconclusive", f"{found.total} differences and no baseline of today's code to judge them by; {measure}"
    if found.total:
        parts = ", ".join(f"{risk} {count}" for risk, count in found.by_risk().items() if count)
        first = min((each for risk in RISKS for each in found.first(risk)), key=lambda each: list(KEYS).index(each.frame))
        return "diverged", f"{found.total} differences ({parts}); first: {_told(first)}"
    if not documents:
        # Two empty sides are equal, and say nothing.
        return "inconclusive", "nothing differs, and no document was compared"
    return "parity", f"{documents} documents, {attempts} attempts, no difference"


def _where(difference: Difference) -> str:
    column = f".{difference.column}" if difference.column else ""
    return f"{difference.frame}{column} of {' / '.join(part for part in difference.key if part) or 'the batch'}"


def _told(difference: Difference) -> str:
    sides = " → ".join(text for text in (difference.legacy, difference.engine) if text is not None)
    return f"{difference.kind}: {_where(difference)}: {sides}"


def _rules_told(rules: Rules, expired: Sequence[str]) -> str:
    told = [f"{rule.frame}.{rule.column} within {rule.absolute:g}" for rule in rules.tolerances]
    told += [f"{rule.frame}.{rule.column} left out until {rule.expires} ({rule.owner}: {rule.reason})" for rule in rules.ignores]
    told += [f"the rule for {name} has expired" for name in expired]
    return "; ".join(told) or "none: zero tolerance"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- HTML -----------------------------------------------------------------------------------------------------------------

_STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
td,th{border-bottom:1px solid #ddd;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.parity{color:#11734b}.diverged{color:#b3261e}.inconclusive{color:#8a6d00}svg text{font:12px system-ui,sans-serif}"""


def page(reports: Sequence[ParityReport]) -> str:
    """The reports on one page, with plots of agreement by stage and by document."""
    tally = Counter(report.verdict for report in reports)
    title = ", ".join(f"{tally[verdict]} {verdict}" for verdict in ("parity", "diverged", "inconclusive") if tally[verdict])
    title = escape(title or "no reports")
    body = "".join(_section(report) for report in reports) or "<p>No reports.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Parity: {title}</title><style>{_STYLE}</style>'
        f"<body><h1>Parity of legacy and engine: {title}</h1>{body}</body></html>\n"
    )


def _section(report: ParityReport) -> str:
    figures = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in report._figures())
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>" for row in report.differences_table()
    )
    table = f"<table><tr><th>risk<th>kind<th>where<th>legacy<th>engine</tr>{rows}</table>" if rows else ""
    return (
        f'<h2 class="{report.verdict}">{escape(report.batch_id)}: {report.verdict}</h2><p>{escape(report.headline)}</p>'
        f"{_stage_plot(report)}{_document_plot(report)}{table}<table>{figures}</table>"
    )


def _stage_plot(report: ParityReport) -> str:
    """A bar a stage: the share of its rows without a difference."""
    bars = []
    for number, (name, stage) in enumerate(report.stages.items()):
        share = 1 - min(stage.differences / stage.rows, 1) if stage.rows else 1.0
        y = 20 * number
        told = f"{stage.rows} rows, {stage.differences} differences" if stage.rows or stage.differences else "nothing to compare"
        bars.append(
            f'<text x="0" y="{y + 13}">{escape(name)}</text><rect x="120" y="{y + 3}" width="300" height="12" fill="#f3d3d0"/>'
            f'<rect x="120" y="{y + 3}" width="{300 * share:.1f}" height="12" fill="{"#7fbf9f" if stage.rows else "#ddd"}"/>'
            f'<text x="430" y="{y + 13}">{told}</text>'
        )
    return f'<svg role="img" aria-label="agreement by stage" width="700" height="{20 * len(bars)}">{"".join(bars)}</svg>'


def _document_plot(report: ParityReport, most: int = 2000) -> str:
    """A square a document: green where nothing differs. The differing ones come first."""
    differing = sorted(report.by_document.items(), key=lambda item: (-item[1], item[0]))[:most]
    shown = min(report.documents, most)
    cells = []
    for number in range(max(shown, len(differing))):
        x, y = 12 * (number % 50), 12 * (number // 50)
        told = f"{differing[number][0]}: {differing[number][1]} differences" if number < len(differing) else "no difference"
        color = "#b3261e" if number < len(differing) else "#7fbf9f"
        cells.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{color}"><title>{escape(told)}</title></rect>')
    height = 12 * (len(cells) // 50 + 1)
    return f'<p><svg role="img" aria-label="agreement by document" width="600" height="{height}">{"".join(cells)}</svg></p>'
