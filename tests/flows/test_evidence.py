"""The commands about shadows: what they have shown, how noisy legacy is, and whether the engine may take over."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stacks

import faults
import flows
from compat.parity import archive, render
from compat.parity.report import ParityReport
from compat.store import Store, shadow_requests
from flows.shadow.comparison import cutover_gate, run_shadow
from flows.sources import readers as sources

pytestmark = pytest.mark.usefixtures("prefect_server", "nobody_submits")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def report(environment: pytest.MonkeyPatch, request_of: Any) -> ParityReport:
    """A batch that legacy served and its shadow agreed with."""
    documents = [faults.document("a"), *(faults.document(f"b{number}", fail=3) for number in range(7))]
    flows.run_batch(request_of(documents, "my batch"), "shadow")
    return shadow_of("my batch")


def shadow_of(batch_id: str, channel: Any = "tape") -> ParityReport:
    found = run_shadow(Store.from_settings(), Store.of_shadows(), batch_id, channel)
    assert found is not None
    return found


def test_a_comparison_is_shown(command: Command, report: ParityReport) -> None:
    shown = command("parity", "show", "my batch")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == render.markdown(report)
    assert json.loads(command("parity", "show", "my batch", "--format", "json").stdout)["verdict"] == "parity"


def test_comparisons_are_listed_and_written_as_a_page(command: Command, report: ParityReport, tmp_path: Path) -> None:
    listed = command("parity", "report", "--since", "1h", "--html", "parity.html")
    assert (listed.returncode, listed.stderr) == (0, "1 reports in parity.html\n1 parity\n")
    assert listed.stdout.splitlines()[1].split()[:3] == ["my", "batch", "parity"]
    assert (tmp_path / "parity.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    [listed_report] = json.loads(command("parity", "report", "--format", "json").stdout)
    assert listed_report["batch_id"] == "my batch"


def test_a_batch_without_a_comparison_says_why(command: Command, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    assert command("parity", "show", "nobody's").returncode == 5
    flows.run_batch(request_of([faults.document("a")], "never shadowed"), "legacy")
    shown = command("parity", "show", "never shadowed")
    assert (shown.returncode, shown.stdout) == (5, "")
    assert "it has no shadow; run it with --mode shadow" in shown.stderr
    flows.run_batch(request_of([faults.document("a")], "alone"), "shadow")
    reason = "ShadowRefusedError: no PREFECT_API_URL"
    shadow_requests.record(Store.from_settings().database, "alone", 0, "refused", reason)
    assert "its shadow was refused: ShadowRefusedError: no PREFECT_API_URL" in command("parity", "show", "alone").stderr
    assert "refused: ShadowRefusedError: no PREFECT_API_URL" in command("status", "alone").stdout


def test_the_gate_opens_on_evidence_alone(command: Command, report: ParityReport) -> None:
    assert command("cutover", "check").returncode == 2
    opened = command("cutover", "check", "--min-batches", "1")
    assert opened.returncode == 0
    lines = opened.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["risk", "R1", "R2", "R3", "R4", "R7", "all"]
    assert lines[1].split()[1:6] == ["tape", "1", "8", "29", "0"]
    assert lines[-1].split() == ["all", "go"]
    assert json.loads(command("cutover", "check", "--min-batches", "1", "--format", "json").stdout)["verdict"] == "go"
    database = Store.of_shadows().database
    again = {"report_id": "another report", "created_at": report.created_at - timedelta(hours=1)}
    archive.save(database, replace(report, verdict="diverged", counts={**report.counts, "R2": 1}, **again))
    closed = command("cutover", "check", "--min-batches", "1")
    assert closed.returncode == 1
    assert "knowledge-batch parity show another report" in closed.stdout
    # What the gate points to, though the batch has agreed since.
    assert json.loads(command("parity", "show", "another report", "--format", "json").stdout)["verdict"] == "diverged"
    shown = command("parity", "show", "my batch")
    assert shown.stdout.startswith("# Parity")
    assert "diverged, another report" in shown.stderr


def test_a_shadow_that_was_submitted_and_is_silent_keeps_the_gate_shut(command: Command, report: ParityReport) -> None:
    shadow_requests.record(Store.from_settings().database, "my batch", 0, "submitted")
    assert command("cutover", "check", "--min-batches", "1").returncode == 0
    with Store.of_shadows().database.write() as connection:
        connection.exec_driver_sql("DELETE FROM knowledge_parity_report")
    shut = command("cutover", "check", "--min-batches", "1")
    assert shut.returncode == 2
    assert "1 shadows were submitted and have not reported" in shut.stderr


def test_a_policy_that_served_and_was_not_compared_keeps_the_gate_shut(
    command: Command, report: ParityReport, request_of: Any
) -> None:
    flows.run_batch(request_of([faults.document("a")], failurePolicy="retry-failed", maxRetries=0), "legacy")
    shut = command("cutover", "check", "--min-batches", "1", "--format", "json")
    assert shut.returncode == 2
    assert {row["reason"] for row in json.loads(shut.stdout)["rows"]} == {"no batch compared under retry-failed"}
    flows.run_batch(request_of([faults.document("a")], failurePolicy="retry-failed"), "legacy")
    rows = json.loads(command("cutover", "check", "--min-batches", "1", "--format", "json").stdout)["rows"]
    assert "0 retries by the owner orchestrator seen, 20 wanted" in rows[1]["reason"]


def test_the_gate_is_a_flow_as_well(report: ParityReport) -> None:
    assert cutover_gate(1, "7d", return_state=True).name == "Go"
    assert cutover_gate(2, "7d", return_state=True).name == "Not enough evidence"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["parity", "report", "--since", "week"], "--since = 'week'"),
        (["parity", "baseline", "sample", "--runs", "1"], "--runs = 1"),
        (["cutover", "check", "--min-batches", "0"], "--min-batches = 0"),
        (["cutover", "check", "--max-age", "7"], "--max-age = '7'"),
        (["cutover", "check", "--format", "yaml"], "format = 'yaml'"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(command: Command, arguments: list[str], named: str) -> None:
    refused = command(*arguments)
    assert refused.returncode == 2
    assert named in refused.stderr


def test_the_live_channel_is_judged_by_legacys_own_noise(
    command: Command, environment: pytest.MonkeyPatch, tmp_path: Path, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:noisy")
    documents = [faults.document(f"d{number}") for number in range(24)]
    source = stacks.source(tmp_path / "source", documents)
    flows.run_batch(request_of(list(sources.load(source)), "live"), "shadow")
    assert shadow_of("live").verdict == "parity"
    unjudged = shadow_of("live", "live")
    assert unjudged.verdict == "inconclusive"
    assert "no baseline" in unjudged.headline
    measured = command("parity", "baseline", source, "--runs", "3", "--format", "json")
    assert json.loads(measured.stdout)["runs"] == 3
    # Every run of legacy, baseline or not, moves the noisy ones on by one.
    judged = shadow_of("live", "live")
    assert (judged.verdict, judged.samples) == ("parity", {})
    with Store.from_settings().database.write() as connection:
        connection.exec_driver_sql("UPDATE knowledge_document_outcome SET attempts = 2 WHERE document_id = 'd3'")
    assert shadow_of("live", "live").verdict == "diverged"
    # Another extractor's noise says nothing of this one.
    environment.setenv("KNOWLEDGE_EXTRACTOR", faults.NAME)
    assert "no baseline" in shadow_of("live", "live").headline


def test_a_baseline_of_a_quiet_extractor_has_no_noise(command: Command, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    measured = command("parity", "baseline", "sample", "--runs", "2")
    assert (measured.returncode, measured.stdout) == (0, "")
    assert measured.stderr == "2 runs of 25 documents: no noise\n"
