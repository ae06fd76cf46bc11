"""The benchmarks run as their page says. That its tables and plots are those of the figures is a check of the generated parts."""

import json
import subprocess
import sys
from pathlib import Path

import pages


def test_a_part_runs_systems_in_turns_and_keeps_their_figures(tmp_path: Path) -> None:
    options = ["--n", "4", "--concurrency", "4", "--systems", "threads,rows,legacy", "--rounds", "1", "--results", str(tmp_path)]
    command = [sys.executable, "-m", "tests.benchmarks", "waiting", *options]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [entry] = json.loads((tmp_path / "waiting.json").read_text())["cases"]
    assert entry["case"]["documents"] == 4
    assert set(entry["systems"]) == {"threads", "rows", "legacy"}, done.stderr
    # Four waits at a time take no less than one.
    [bare] = entry["systems"]["threads"]["runs"]
    assert bare["wall"] >= 0.05


def test_every_benchmark_is_documented() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--help"]
    shown = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, check=True).stdout
    page = (pages.ROOT / "docs/reference/benchmarks.md").read_text(encoding="utf-8")
    parts = shown.split("parts: ")[1].split(";")[0].split(", ")
    assert [part for part in parts if f"`python -m tests.benchmarks {part}`" not in page] == []
