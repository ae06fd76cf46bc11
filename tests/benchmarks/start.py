"""What a process costs before and beside its documents: imports, commands, and the sample in each runtime."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.runs import RESULTS, ROOT, machine_of, moment

# As the installed command starts.
COMMAND = ("-m", "deployments.command")
# Titles, and what each runs. Those that need a batch find the sample's, which the first run in their home made.
PROGRAMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("`import flows`", ("-c", "import flows"), "used"),
    ("`knowledge-batch --help`", (*COMMAND, "--help"), "used"),
    ("`knowledge-batch list`", (*COMMAND, "list"), "used"),
    ("`knowledge-batch status ID`", (*COMMAND, "status", "first"), "used"),
    ("the sample in legacy", (*COMMAND, "run", "sample", "--mode", "legacy"), "used"),
    ("the sample in the engine, embedded server, used home", (*COMMAND, "run", "sample", "--mode", "engine"), "used"),
    ("the sample in the engine, embedded server, fresh home", (*COMMAND, "run", "sample", "--mode", "engine"), "fresh"),
)


def measure(rounds: int, folder: Path = RESULTS) -> None:
    """Run every program in turns, and keep the figures."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as used:
        run((*COMMAND, "run", "sample", "--batch-id", "first", "--mode", "engine"), used)
        found: dict[str, list[dict[str, Any]]] = {title: [] for title, _, _ in PROGRAMS}
        for number in range(rounds):
            for title, words, home in PROGRAMS:
                with tempfile.TemporaryDirectory(prefix="benchmark-") as fresh:
                    figures = run(words, used if home == "used" else fresh)
                found[title].append({**figures, "round": number, "load": os.getloadavg()[0]})
                print(f"{title:56}{figures['cpu']:7.2f} s of CPU, {figures['wall']:6.2f} s", flush=True)
    cases = [{"title": title, "measured": moment(), "machine": machine_of(), "runs": runs} for title, runs in found.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "start.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


def run(words: tuple[str, ...], home: str) -> dict[str, float]:
    """Run a program to its end. Returns its wall time, and its CPU with that of what it started and waited for."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KNOWLEDGE_", "PREFECT_"))}
    variables |= {"PYTHONPATH": str(ROOT), "KNOWLEDGE_HOME": f"{home}/knowledge", "PREFECT_HOME": f"{home}/prefect"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], env=variables, cwd=home, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 4), "cpu": round(cpu, 4)}
