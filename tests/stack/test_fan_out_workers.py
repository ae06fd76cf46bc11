"""A fan-out over workers as an operator runs it: shared by two, one of them killed with its runs, and gone on with."""

import json
import subprocess
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest
import stacks
from prefect.settings import PREFECT_API_URL, temporary_settings

import faults
import flows
from compat import fan_outs
from compat.store import Store
from flows.operations import deployments

pytestmark = pytest.mark.slow

SECONDS = 240.0
DOCUMENTS = 60


def command(api: str, *arguments: str) -> Any:
    done = subprocess.run(
        stacks.command(*arguments, "--format", "json"),
        capture_output=True,
        text=True,
        env=processes.environment(PREFECT_API_URL=api),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kill(process: "subprocess.Popen[bytes]") -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in family:
        each.kill()
    process.wait()


def test_workers_share_a_fan_out_and_what_a_killed_one_had_is_gone_on_with(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "5")
    source = stacks.source(tmp_path / "source", [faults.document(f"d{n}", seconds=0.3) for n in range(DOCUMENTS)])
    ask = ("fan-out", source, "--documents-per-batch", "20", "--fan-out-id", "shared", "--concurrency", "2")
    with processes.prefect_server(tmp_path / "server") as (api, _), temporary_settings({PREFECT_API_URL: api}):
        deployments.apply(lambda line: None)
        assert command(api, *ask)["batches"] == {"waiting": 3}
        with processes.prefect_worker(api, tmp_path / "dying", "knowledge-batch", "--limit", "2") as dying:
            # Both of its runs have begun: the third batch waits for a place.
            processes.wait_until(lambda: command(api, "status", "shared")["batches"].get("running") == 2, SECONDS, pause=1)
            before = sum(faults.knocks().values())
            processes.wait_until(lambda: sum(faults.knocks().values()) > before + 4, SECONDS)
            kill(dying)
        processes.wait_until(lambda: command(api, "status", "shared")["batches"] == {"failed": 2, "waiting": 1}, SECONDS, pause=1)
        store = Store.from_settings()
        done = {
            each.document_id
            for part in fan_outs.standing(store, fan_outs.find(store.database, "shared")).parts  # type: ignore[arg-type]
            if part.batch is not None
            for each in store.extractions(part.batch_id)
        }
        assert done
        killed = faults.knocks()
        with (
            processes.prefect_worker(api, tmp_path / "first", "knowledge-batch", "--limit", "1"),
            processes.prefect_worker(api, tmp_path / "second", "knowledge-batch", "--limit", "1"),
        ):
            command(api, *ask)
            # Asked by two at a time, and again: each batch has one run for this.
            command(api, "resume", "shared")
            processes.wait_until(lambda: command(api, "status", "shared")["status"] == "completed", SECONDS, pause=1)
        last = command(api, "status", "shared")
    assert (last["completedDocuments"], last["failedDocuments"], last["batches"]) == (DOCUMENTS, 0, {"completed": 3})
    after = faults.knocks() - killed
    assert not done & set(after)
    assert set(killed) | set(after) == {f"d{n}" for n in range(DOCUMENTS)}
    # Two batches of two documents in work were killed.
    assert sum(faults.knocks().values()) <= DOCUMENTS + 4
    submissions = [part.submissions for part in fan_outs.standing(store, fan_outs.find(store.database, "shared")).parts]  # type: ignore[arg-type]
    assert sorted(submissions) == [1, 2, 2]
    assert len(flows.graph_of("shared").entities()) == DOCUMENTS + 1
