"""The figures as tables and plots of the documentation, made from what the runs left in ``results/``."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.cases import PARTS, SYSTEMS, Part
from tests.benchmarks.runs import RESULTS, ROOT

PLOTS = ROOT / "docs" / "benchmarks"
Runs = list[dict[str, Any]]


def read(name: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["cases"] if path.exists() else []


def part_table(name: str) -> str:
    """A part's figures: a table for each concurrency and each rate of failure, with a column for each number of documents."""
    part = PARTS[name]
    entries = read(name)
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault((entry["case"]["failing"], entry["case"]["concurrency"]), []).append(entry)
    shown = [_group(part, failing, places, groups[failing, places]) for failing, places in sorted(groups, reverse=True)]
    return "\n".join([*shown, _measured(entries)]) if shown else "Nothing is measured yet.\n"


def _group(part: Part, failing: int, places: int, entries: list[dict[str, Any]]) -> str:
    entries = sorted(entries, key=lambda entry: int(entry["case"]["documents"]))
    rate = f"one in {failing} documents fails once" if failing else "none fails"
    heading = ["", *(f"{entry['case']['documents']:,}" for entry in entries)]
    found = {system for entry in entries for system in entry["systems"]}
    rows = [[SYSTEMS[system].title, *(_cell(part, entry, system) for entry in entries)] for system in SYSTEMS if system in found]
    lines = [heading, ["---", *("---:" for _ in entries)], *rows]
    return f"**{places} at a time, {rate}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(part: Part, entry: Mapping[str, Any], system: str) -> str:
    runs = entry["systems"].get(system, {}).get("runs")
    if not runs:
        return ""
    per = 1000 / entry["case"]["documents"]
    if part is PARTS["server"]:
        shown = f"{median(run['wall'] for run in runs):.2f} s, {median(run['cpu'] for run in runs):.2f} s of CPU"
        if "server" not in runs[0]:
            return shown
        server = median(run["server"] + run["server_after"] for run in runs)
        busy, task_runs = (median(run[key] for run in runs) for key in ("busy", "task_runs"))
        more = f"; server {server:.1f} s, busy {busy:.1f} s after; {task_runs:.0f} task runs"
        return shown + more
    shown = f"{_ms(median(run['cpu'] for run in runs) * per)} · {_ms(median(run['wall'] for run in runs) * per)}"
    if part is PARTS["growth"]:
        shown += f" · + {median(run['mebibytes'] for run in runs):.0f} MiB"
    times = _ratio(part, entry, system)
    return f"{shown} · {times:.2f} ×" if times is not None else shown


def _ratio(part: Part, entry: Mapping[str, Any], system: str) -> float | None:
    """How many times the floor's figure, by the median of the rounds."""
    case, runs = entry["case"], entry["systems"][system]["runs"]
    if part.measure == "ideal":
        ideal = -(-case["documents"] // case["concurrency"]) * case["wait_ms"] / 1000
        return median(run["wall"] for run in runs) / ideal
    floor = part.floors.get(system, part.floor)
    if floor == system or floor not in entry["systems"] or part is PARTS["growth"]:
        return None
    beside = {run["round"]: run[part.measure] for run in entry["systems"][floor]["runs"]}
    ratios = [run[part.measure] / beside[run["round"]] for run in runs if run["round"] in beside]
    return median(ratios) if ratios else None


def start_table() -> str:
    """What a process costs before and beside its documents."""
    entries = read("start")
    lines = ["| | CPU s | wall s |\n|---|---:|---:|\n"]
    for entry in entries:
        cpu, wall = (median(run[key] for run in entry["runs"]) for key in ("cpu", "wall"))
        lines.append(f"| {entry['title']} | {cpu:.2f} | {wall:.2f} |\n")
    return "".join(lines) + ("\n" + _measured([{"systems": {"": entry}} for entry in entries]) if entries else "")


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _measured(entries: Iterable[Mapping[str, Any]]) -> str:
    measured = [each for entry in entries for each in entry["systems"].values()]
    days = sorted({str(each["measured"])[:10] for each in measured})
    loads = sorted(run["load"] for each in measured for run in each["runs"])
    rounds = max(len(each["runs"]) for each in measured)
    machines = "; ".join(sorted({str(each["machine"]) for each in measured}))
    load = f"load {loads[0]:.1f} to {loads[-1]:.1f}, {median(loads):.1f} in the middle"
    return f"{machines}; {' to '.join(dict.fromkeys((days[0], days[-1])))}; {rounds} rounds; {load}.\n"


# --- Plots --------------------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, LINE = 760, 210, 90, 26
OURS, OTHERS = "#2a6f97", "#9aa5b1"


def plots() -> dict[Path, str]:
    """Each plot's file and content: milliseconds of wall time a document, for the largest batch that all systems ran."""
    made = {}
    for name, part in PARTS.items():
        if part.measure == "cpu" and name != "no-work":
            continue
        wanted = (part.failing[0], part.concurrency[0])
        entries = [entry for entry in read(name) if (entry["case"]["failing"], entry["case"]["concurrency"]) == wanted]
        if not entries:
            continue
        entry = max(entries, key=lambda each: (len(each["systems"]), each["case"]["documents"]))
        case = entry["case"]
        per = 1000 / case["documents"]
        bars = [
            (SYSTEMS[system].title, median(run["wall"] for run in found["runs"]) * per, SYSTEMS[system].program == "ours")
            for system, found in entry["systems"].items()
        ]
        title = f"{part.title}: ms a document, {case['documents']:,} documents, {case['concurrency']} at a time"
        made[PLOTS / f"{name}.svg"] = _bars(title, sorted(bars, key=lambda bar: bar[1]))
    return made


def _bars(title: str, bars: list[tuple[str, float, bool]]) -> str:
    longest = max(value for _, value, _ in bars)
    height = LINE * (len(bars) + 2)
    drawn = [f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>']
    for number, (label, value, ours) in enumerate(bars):
        top = LINE * (number + 1) + 12
        width = max(2.0, (WIDTH - LEFT - RIGHT) * value / longest)
        drawn += [
            f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{LINE - 8}" fill="{OURS if ours else OTHERS}"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{top + 14}">{_ms(value)}</text>',
        ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
    # Grey reads on a light page and on a dark one.
    return f'{head} font-family="sans-serif" font-size="13" fill="#7a8288">\n' + "\n".join(drawn) + "\n</svg>\n"
