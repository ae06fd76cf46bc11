"""Reports as people read them: Markdown for artifacts and terminals, and pages of HTML."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat.markdown import escaped
from compat.parity.diff import Difference, Rules
from compat.parity.risks import RISKS
from compat.parity.verdict import ParityReport

if TYPE_CHECKING:
    from jinja2 import Template

# Squares in the plot of documents.
MOST_SQUARES = 2000


def markdown(report: ParityReport) -> str:
    """Return a report as Markdown: the verdict first, then where the sides differ, then how much was compared."""
    lines = [f"# {report.verdict.capitalize()}: {escaped(report.headline)}", ""]
    differing = [risk for risk in RISKS if report.counts.get(risk)]
    if differing:
        # What differs before what it means: a page cuts a wide table at its right.
        lines += ["| risk | differences | first of them | about |", "|---|---:|---|---|"]
        lines += [
            f"| {risk} | {report.counts[risk]} | {escaped(summary(report.samples[risk][0]))} | {RISKS[risk]} |"
            for risk in differing
        ]
        lines.append("")
    # The first figure as the table's head: an empty one shows as an empty row.
    rows = [f"| {name} | {escaped(value)} |" for name, value in figures(report).items()]
    lines += [rows[0], "|---|---|", *rows[1:]]
    return "\n".join(lines) + "\n"


def differences(report: ParityReport) -> list[dict[str, str]]:
    """Return the samples as rows of texts."""
    return [
        {
            "risk": each.risk,
            "kind": each.kind,
            "where": place(each),
            "legacy": each.legacy or "",
            "engine": each.engine or "",
        }
        for risk in RISKS
        for each in report.samples.get(risk, ())
    ]


def page(reports: Sequence[ParityReport]) -> str:
    """Return the reports on one page of HTML, with plots of agreement by stage and by document."""
    tally = Counter(report.verdict for report in reports)
    title = ", ".join(f"{tally[verdict]} {verdict}" for verdict in ("parity", "diverged", "inconclusive") if tally[verdict])
    sections = [
        {
            "report": report,
            "figures": figures(report),
            "differences": differences(report),
            "stages": _bars(report),
            "documents": _squares(report),
        }
        for report in reports
    ]
    return _template("report.html.j2").render(title=title or "no reports", sections=sections)


def figures(report: ParityReport) -> dict[str, str]:
    """Return what was compared, and with what, by name."""
    found = {
        "batch": report.batch_id,
        "channel": report.channel,
        "policy": report.policy,
        "documents compared": str(report.documents),
        "attempts compared": f"{report.attempts}, {report.retries} of them retries",
        "documents that differ": str(len(report.by_document)),
    }
    if report.channel == "live":
        found["differences within the baseline's noise"] = str(report.noise)
    versions = ", ".join(f"{name} {value}" for name, value in report.versions.to_dict().items())
    return {
        **found,
        "rules": _rules(report.rules, report.expired),
        "versions": versions,
        "hashes": f"ontology {report.ontology_hash[:16]}, policy {report.policy_hash}, documents {report.content_hash[:16]}",
        "compared at": f"{report.created_at:%Y-%m-%d %H:%M:%S} UTC, in {report.duration_seconds:.2f} s",
    }


def summary(difference: Difference) -> str:
    """Return a difference in one line."""
    sides = " → ".join(text for text in (difference.legacy, difference.engine) if text is not None)
    return f"{difference.kind}: {place(difference)}: {sides}"


def place(difference: Difference) -> str:
    """Return where a difference is: frame, column, and the row's key."""
    column = f".{difference.column}" if difference.column else ""
    return f"{difference.frame}{column} of {' / '.join(part for part in difference.key if part) or 'the batch'}"


def _rules(rules: Rules, expired: Sequence[str]) -> str:
    texts = [f"{rule.frame}.{rule.column} within {rule.absolute:g}" for rule in rules.tolerances]
    texts += [f"{rule.frame}.{rule.column} left out until {rule.expires} ({rule.owner}: {rule.reason})" for rule in rules.ignores]
    texts += [f"the rule for {name} has expired" for name in expired]
    return "; ".join(texts) or "none: zero tolerance"


@cache
def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        # A name that the template misspells is an error, not an empty place.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


# --- Plots ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    """A stage's bar: its name and row, the share of its rows without a difference, and the figures in words."""

    name: str
    y: int
    share: float
    text: str
    is_empty: bool


@dataclass(frozen=True)
class _Square:
    """A document's square: where it lies, whether the document differs, and the figures in words."""

    x: int
    y: int
    differs: bool
    text: str


def _bars(report: ParityReport) -> Mapping[str, Any]:
    bars = []
    for number, (name, stage) in enumerate(report.stages.items()):
        share = 1 - min(stage.differences / stage.rows, 1) if stage.rows else 1.0
        text = f"{stage.rows} rows, {stage.differences} differences" if stage.rows or stage.differences else "nothing to compare"
        bars.append(_Bar(name, 20 * number, share, text, not stage.rows))
    return {"height": 20 * len(bars), "bars": bars}


def _squares(report: ParityReport) -> Mapping[str, Any]:
    """Return a square a document; those that differ come first."""
    differing = sorted(report.by_document.items(), key=lambda item: (-item[1], item[0]))[:MOST_SQUARES]
    texts = [f"{name}: {count} differences" for name, count in differing]
    squares = [
        _Square(12 * (number % 50), 12 * (number // 50), number < len(texts), [*texts, "no difference"][min(number, len(texts))])
        for number in range(max(min(report.documents, MOST_SQUARES), len(texts)))
    ]
    return {"height": 12 * (len(squares) // 50 + 1), "squares": squares}
