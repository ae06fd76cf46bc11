"""The drill as an operator holds it, on both databases, and kept in the service's own store."""

import json
import signal
import subprocess
from pathlib import Path

import processes
import psutil
import pytest
import stacks

import flows
from compat.cutover import record
from compat.store import Store

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_batch_is_lost_or_served_twice_and_old_readers_are_right(
    environment: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    options = [] if database == "sqlite" else ["--database", str(request.getfixturevalue("postgres_database"))]
    flows.set_mode("shadow")
    done = subprocess.run(
        stacks.command("cutover", "drill", "--folder", str(tmp_path / "drill"), "--format", "json", *options),
        capture_output=True,
        text=True,
        env=processes.environment(),
    )
    assert done.returncode == 0, done.stderr
    [drill] = json.loads(done.stdout)["drills"]
    assert (drill["lost"], drill["twice"], drill["wrong"]) == ([], [], [])
    assert set(drill["modes"]) == {"legacy", "shadow", "engine"}
    assert drill["handed_over"] == ["drill1-long"]
    assert drill["trigger"] == "second-owner"
    assert drill["looks"] > drill["batches"] > 20
    # The service's own mode isn't touched; what came of the drill is kept with it.
    assert flows.current_mode().mode == "shadow"
    [kept] = record.changes(Store.from_settings().database, None, "drill")
    assert kept.details == drill


def test_a_drill_that_is_told_to_end_leaves_nothing_running(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = stacks.command("cutover", "drill", "--folder", str(tmp_path / "drill"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=processes.environment()) as drill:
        log = tmp_path / "drill" / "stack.log"
        processes.wait_until(lambda: log.exists() and "ready: " in log.read_text(encoding="utf-8"), 120)
        started = psutil.Process(drill.pid).children(recursive=True)
        drill.terminate()
        assert drill.wait(120) == 128 + signal.SIGTERM
    assert len(started) > 2
    assert not [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_database_that_holds_others_batches_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str
) -> None:
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    subprocess.run(stacks.command("run", "sample", "--batch-id", "ours"), check=True, env=processes.environment())
    done = subprocess.run(
        stacks.command("cutover", "drill", "--folder", str(tmp_path / "drill"), "--database", sqlite_url),
        capture_output=True,
        text=True,
        env=processes.environment(),
    )
    assert done.returncode == 2
    assert "holds the batch ours; a drill sets its database's mode" in done.stderr
