"""The evidence as people read it: Markdown for terminals and reviews, and a page of HTML with plots."""

from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from compat.cutover.evidence import Evidence, age_of
from compat.cutover.figures import Runtime
from compat.markdown import escaped

if TYPE_CHECKING:
    from jinja2 import Template

# The plots' size in pixels, and how wide their bars are at most.
WIDTH = 300.0
SIDE = 260.0
COLOURS = {"legacy": "#8a8f98", "engine": "#3b6fb6", "engine (shadow)": "#9bbce3"}


def markdown(evidence: Evidence) -> str:
    """Return the evidence as Markdown: the verdicts first, then each risk, then what the work took, drills, and changes."""
    lines = [f"# Evidence of the migration, {evidence.at:%Y-%m-%d %H:%M} UTC", "", *_versions(evidence), ""]
    lines += ["| risk | | verdict | because |", "|---|---|---|---|"]
    lines += [f"| {risk.risk} | {risk.title} | {risk.verdict} | {escaped(risk.reason)} |" for risk in evidence.risks]
    for risk in evidence.risks:
        lines += ["", f"## {risk.risk}: {risk.title}", "", *(f"- {means}" for means in risk.means)]
        lines += ["", "| figure | value | newest | read from |", "|---|---:|---|---|"]
        lines += [
            f"| {each.name} | {escaped(each.value)} | {age_of(each.at, evidence.at)} | {escaped(each.source)} |"
            for each in risk.figures
        ]
        lines += ["", *(f"- `{test.name}`: {test.outcome}" for test in risk.tests)]
    lines += ["", "## What the work took", "", "| runtime | " + " | ".join(_COST) + " |", "|---|" + "---:|" * len(_COST)]
    lines += [f"| {runtime.name} | " + " | ".join(cost(runtime)) + " |" for runtime in evidence.runtimes]
    if evidence.pairs:
        lines += ["", _paired(evidence)]
    lines += ["", "## Drills", "", drills(evidence), "", "## Changes of who serves", ""]
    lines += [f"- {each.created_at:%Y-%m-%d %H:%M} {escaped(each.made_by)}: {escaped(str(each))}" for each in evidence.changes]
    return "\n".join(lines) + "\n"


def page(evidence: Evidence) -> str:
    """Return the evidence as one page of HTML, with plots of agreement, attempts, and the time to serve."""
    return _template().render(
        evidence=evidence,
        versions=_versions(evidence),
        age_of=age_of,
        agreement=_agreement(evidence),
        attempts=_attempts(evidence),
        times=_times(evidence),
        drills=drills(evidence),
        headings=_COST,
        costs=[(runtime.name, cost(runtime)) for runtime in evidence.runtimes],
        paired=_paired(evidence) if evidence.pairs else "",
        width=WIDTH,
        side=SIDE,
    )


_COST = ("batches", "documents", "attempts", "median s a batch", "extractor ms a document", "model calls", "tokens")


def cost(runtime: Runtime) -> tuple[str, ...]:
    """Return what a runtime's work took: how much of it, how long a batch and a document, and what models were asked."""
    attempts = sum(number * count for number, count in runtime.attempts.items())
    middle = f"{median(runtime.seconds.values()):.2f}" if runtime.seconds else ""
    each = f"{runtime.extractor_ms / runtime.documents:.1f}" if runtime.documents else ""
    return (str(runtime.batches), str(runtime.documents), str(attempts), middle, each, str(runtime.calls), str(runtime.tokens))


def drills(evidence: Evidence) -> str:
    """Return the drills on record in a sentence: how many, how many good, and the time to legacy."""
    times = evidence.times_to_legacy
    if not times:
        return "No drill is on record; hold one: knowledge-batch cutover drill"
    good = sum(bool(drill.details and drill.details["is_good"]) for drill in evidence.drills)
    newest = age_of(evidence.drills[0].created_at, evidence.at)
    spread = f"least {times[0]:.2f} s, median {median(times):.2f} s, greatest {times[-1]:.2f} s"
    count = "1 drill" if len(times) == 1 else f"{len(times)} drills"
    held = f"{count}, the newest {newest}; {good} with 0 lost, 0 served twice and old readers right"
    return f"{held}. Time to legacy: {spread}."


def _versions(evidence: Evidence) -> list[str]:
    of = evidence.versions
    tested = f"tests of {evidence.tested_at}" if evidence.tested_at else "no report of the tests was read (--junit FILE)"
    return [f"knowledge-batch {of.knowledge_batch}, code {of.code}, schema {of.schema}, Prefect {of.prefect}; {tested}"]


def _paired(evidence: Evidence) -> str:
    """Return how the engine's time compares with legacy's for the same batches."""
    ratio = median(engine / legacy for legacy, engine in evidence.pairs.values() if legacy > 0)
    compared = f"Of {len(evidence.pairs)} batches that both served, the engine took {ratio:.2f} times as long in the middle"
    return f"{compared}. A shadow on the tape is given what legacy's extractor gave, so there its extractor costs nothing."


def _agreement(evidence: Evidence) -> list[dict[str, Any]]:
    most = max((sum(counts) for counts in evidence.agreement.values()), default=0) or 1
    scale = WIDTH / most
    return [
        {"name": risk, "agreed": agreed, "diverged": diverged, "good": scale * agreed, "bad": scale * diverged, "y": 22 * row}
        for row, (risk, (agreed, diverged)) in enumerate(evidence.agreement.items())
    ]


def _attempts(evidence: Evidence) -> list[dict[str, Any]]:
    """Return a bar for each runtime and number of attempts: the share of its documents."""
    bars = []
    for runtime in evidence.runtimes:
        for number, count in sorted(runtime.attempts.items()):
            share = count / runtime.documents if runtime.documents else 0.0
            text = f"{count} documents, {share:.1%}"
            bars.append(
                {"name": f"{runtime.name}, {number}", "width": WIDTH * share, "fill": COLOURS[runtime.name], "text": text}
            )
    return [{**bar, "y": 22 * row} for row, bar in enumerate(bars)]


def _times(evidence: Evidence) -> dict[str, Any]:
    """Return a point for each batch that both runtimes served; on the diagonal both took as long."""
    longest = max((value for pair in evidence.pairs.values() for value in pair), default=0.0) or 1.0
    scale = SIDE / longest
    points = [
        {
            "x": scale * legacy,
            "y": SIDE - scale * engine,
            "text": f"{name}: {legacy:.2f} s in legacy, {engine:.2f} s in the engine",
        }
        for name, (legacy, engine) in evidence.pairs.items()
    ]
    return {"points": points, "longest": f"{longest:.2f} s"}


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("evidence.html.j2")
