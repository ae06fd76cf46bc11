"""A store that goes away in the middle of a batch: the batch has failed as soon as it is back, and can be resumed at once."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
import pytest
from sqlalchemy import select

import faults
import flows
import postgres
from compat.errors import BatchInfrastructureError
from compat.recording import giving_up
from compat.store import Store, database
from compat.store.schema import WorkflowActivity, WorkflowExecution


@dataclass
class Outage:
    """What takes the store away, and what brings it back."""

    begin: Callable[[], object]
    end: Callable[[], object]


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's postgresql")
    with postgres.cluster(programs) as running:
        postgres.upgrade(running.url)
        yield running


@pytest.fixture
def outage(
    request: pytest.FixtureRequest, database_kind: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Outage]:
    """A store that can be taken away: a file that somebody else locks, a cluster that is stopped."""
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:held")
    environment.setenv(faults.OPEN, str(tmp_path / "open"))
    if database_kind == "postgresql":
        cluster: postgres.Cluster = request.getfixturevalue("cluster")
        environment.setenv("KNOWLEDGE_DATABASE_URL", cluster.url)
        yield Outage(cluster.stop, cluster.start)
        Store.from_settings().database.engine.dispose()
        return
    file = tmp_path / "home" / "knowledge.db"
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{file}")
    # Nobody waits a minute for the lock.
    environment.setattr(database, "BUSY_SECONDS", 0.2)
    Store.from_settings()
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    yield Outage(lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))
    other.close()


def failed_in_an_outage(outage: Outage, request: dict[str, Any], mode: str) -> None:
    """Runs a batch whose store goes away between its first document and its second one."""
    batch_id = request["batchId"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(flows.run_batch, request, mode)
        processes.wait_until(lambda: running.done() or faults.knocks()["second"] == 1)
        processes.wait_until(lambda: Store.from_settings().batch(batch_id).completed_documents == 1)
        outage.begin()
        Path(processes.environment()[faults.OPEN]).touch()
        with pytest.raises(BatchInfrastructureError):
            running.result(timeout=60)


def two(request_of: Any, batch_id: str) -> dict[str, Any]:
    built: dict[str, Any] = request_of([faults.document("first"), faults.document("second")], batch_id=batch_id)
    return built


def running_rows(batch_id: str) -> int:
    with Store.from_settings().database.read() as connection:
        found = [
            connection.execute(select(table.id).where(table.status == "running")).all()
            for table in (WorkflowExecution, WorkflowActivity)
        ]
    return sum(map(len, found))


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_batch_whose_store_went_away_has_failed_when_it_is_back(mode: str, outage: Outage, request_of: Any) -> None:
    failed_in_an_outage(outage, two(request_of, f"away {mode}"), mode)
    outage.end()
    # Not after a lease, which is a minute.
    processes.wait_until(lambda: type(flows.get_status(f"away {mode}")).__name__ == "Failed", seconds=10)
    batch = Store.from_settings().batch(f"away {mode}")
    assert batch.status == "failed"
    assert str(batch.error).startswith("batch_run_dispatch failed: ")
    assert str(batch.error).endswith(f"go on with knowledge-batch resume away {mode}")
    assert running_rows(f"away {mode}") == 0
    assert [type(event).__name__ for event in flows.subscribe(f"away {mode}")][-1] == "BatchFailed"


def test_it_is_resumed_the_moment_its_store_is_back(outage: Outage, request_of: Any) -> None:
    failed_in_an_outage(outage, two(request_of, "back"), "legacy")
    outage.end()
    assert flows.resume_batch("back", "legacy").success_count == 2
    # What had its outcome before is not done again.
    assert faults.knocks() == {"first": 1, "second": 2}
    told = [type(event).__name__ for event in flows.subscribe("back")]
    assert (told[0], told[-1], told.count("BatchCompleted")) == ("BatchCreated", "BatchCompleted", 1)


# Ends as soon as its batch has failed; says when that is.
PROGRAM = """
import json, sys
import flows
from compat.errors import BatchInfrastructureError
from compat.store import database
database.BUSY_SECONDS = 0.2
try:
    flows.run_batch(json.load(sys.stdin), "legacy")
except BatchInfrastructureError:
    print("failed", flush=True)
"""


@pytest.mark.parametrize("back", [True, False], ids=["in time", "too late"])
def test_a_process_waits_a_moment_at_its_exit_for_a_store_that_is_away(back: bool, outage: Outage, request_of: Any) -> None:
    batch_id = f"exit {back}"
    child = processes.start(PROGRAM, request=json.dumps(two(request_of, batch_id)))
    processes.wait_until(lambda: faults.knocks()["second"] == 1)
    processes.wait_until(lambda: Store.from_settings().batch(batch_id).completed_documents == 1)
    outage.begin()
    Path(processes.environment()[faults.OPEN]).touch()
    assert child.stdout is not None
    assert child.stdout.readline() == "failed\n"
    began = time.monotonic()
    if back:
        outage.end()
        assert child.wait(timeout=30) == 0
        assert Store.from_settings().batch(batch_id).status == "failed"
    else:
        assert child.wait(timeout=30) == 0
        assert time.monotonic() - began < giving_up.EXIT_SECONDS + 5
        outage.end()
        # Its lease will tell, as of any process that ended.
        assert Store.from_settings().batch(batch_id).status == "running"
    child.communicate()
