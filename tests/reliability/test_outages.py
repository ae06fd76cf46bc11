"""A database that goes away in a process that has used it: one error, in one line, with its first cause and what to do next."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

import faults
import flows
import postgres
from compat.contracts import Completed, ExtractionResult, PipelineConfig
from compat.errors import BatchInfrastructureError, StoreUnavailableError
from compat.parity import archive
from compat.store import Store, database, shadow_requests
from flows.graph.export import export
from flows.operations.reconcile import reconcile


@contextmanager
def stopped_server(environment: pytest.MonkeyPatch, home: Path) -> Iterator[Callable[[], None]]:
    """PostgreSQL, a server of the test's own; taking it away is stopping it."""
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's postgresql")
    with postgres.cluster(programs) as cluster:
        postgres.upgrade(cluster.url)
        environment.setenv("KNOWLEDGE_DATABASE_URL", cluster.url)
        yield cluster.stop


@contextmanager
def removed_folder(environment: pytest.MonkeyPatch, home: Path) -> Iterator[Callable[[], None]]:
    """SQLite, whose folder is gone, so that no file can be made anew."""
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{home}/knowledge.db")
    yield lambda: (close(), shutil.rmtree(home))[0]


@contextmanager
def broken_file(environment: pytest.MonkeyPatch, home: Path) -> Iterator[Callable[[], None]]:
    """SQLite, whose files hold something else."""
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{home}/knowledge.db")

    def spoil() -> None:
        close()
        for file in ("knowledge.db", "knowledge.shadow.db"):
            (home / file).write_bytes(b"no database at all " * 1_000)

    yield spoil


@contextmanager
def locked_file(environment: pytest.MonkeyPatch, home: Path) -> Iterator[Callable[[], None]]:
    """SQLite, in which somebody else writes for longer than a writer waits."""
    environment.setattr(database, "BUSY_SECONDS", 0.1)
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{home}/knowledge.db")
    others: list[sqlite3.Connection] = []

    def lock() -> None:
        for file in ("knowledge.db", "knowledge.shadow.db"):
            others.append(sqlite3.connect(home / file, isolation_level=None))
            others[-1].execute("BEGIN IMMEDIATE")

    yield lock
    for other in others:
        other.close()


def close() -> None:
    """As after a while without use: the next statement opens the file anew."""
    for store in (Store.from_settings(), Store.of_shadows()):
        store.database.engine.dispose()


OUTAGES = {
    "stopped server": (stopped_server, "OperationalError: connection failed: .*Connection refused"),
    "removed folder": (removed_folder, "OperationalError: unable to open database file"),
    "broken file": (broken_file, "DatabaseError: file is not a database"),
    "locked file": (locked_file, "OperationalError: database is locked"),
}
START_AGAIN, GO_ON, ASK_AGAIN = "then start the batch again", "go on with knowledge-batch resume stored", "then ask again"
CANCEL_AGAIN, TRY_AGAIN = "knowledge-batch cancel stored", "then try again"


def calls(request: dict[str, Any], to: Path) -> dict[str, tuple[Callable[[], object], str]]:
    """What is called while the database is away, and what its error advises."""
    store, shadows = Store.from_settings(), Store.of_shadows().database
    return {
        "run_batch": (lambda: flows.run_batch(request, "legacy"), START_AGAIN),
        "run_batch in the engine": (lambda: flows.run_batch(request, "engine"), START_AGAIN),
        "arun_batch": (lambda: asyncio.run(flows.arun_batch(request)), START_AGAIN),
        "start_batch": (lambda: flows.start_batch(request), START_AGAIN),
        "resume_batch": (lambda: flows.resume_batch("stored"), GO_ON),
        "get_status": (lambda: flows.get_status("stored"), ASK_AGAIN),
        "subscribe": (lambda: list(flows.subscribe("stored")), ASK_AGAIN),
        "result": (lambda: store.result("stored"), ASK_AGAIN),
        "export": (lambda: export(store, "stored", to / "graph.ttl"), ASK_AGAIN),
        "cancel_batch": (lambda: flows.cancel_batch("stored"), CANCEL_AGAIN),
        "list_batches": (flows.list_batches, TRY_AGAIN),
        "current_mode": (flows.current_mode, TRY_AGAIN),
        "set_mode": (lambda: flows.set_mode("legacy"), TRY_AGAIN),
        "demote": (lambda: flows.demote("a test"), TRY_AGAIN),
        "reconcile": (lambda: reconcile(store), TRY_AGAIN),
        "parity report": (lambda: archive.reports(shadows), TRY_AGAIN),
        "shadow requests": (lambda: shadow_requests.waiting(store.database), TRY_AGAIN),
    }


# What waits for somebody else who writes.
WRITES = {
    "run_batch",
    "run_batch in the engine",
    "arun_batch",
    "start_batch",
    "resume_batch",
    "cancel_batch",
    "set_mode",
    "demote",
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_every_call_tells_of_an_outage_in_one_line(
    outage: str, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Path
) -> None:
    take_away_from, cause = OUTAGES[outage]
    with take_away_from(environment, tmp_path / "store") as take_away:
        flows.run_batch(request_of([faults.document("a", fail=faults.ALWAYS)], "stored"))
        made = calls(request_of([faults.document("a")], "new"), tmp_path)
        take_away()
        # The calls that did not tell of it as they should.
        wrong = {}
        for name, (call, advice) in made.items():
            if outage == "locked file" and name not in WRITES:
                continue
            try:
                call()
                wrong[name] = "nothing was raised"
            except Exception as error:
                if not tells(error, cause, advice):
                    wrong[name] = f"{type(error).__name__}: {error}"
        assert wrong == {}


def tells(error: Exception, cause: str, advice: str) -> bool:
    kind = StoreUnavailableError if advice == TRY_AGAIN else BatchInfrastructureError
    said = str(error)
    return (
        type(error) is kind
        and re.search(cause, said) is not None
        and said.endswith(advice)
        and not re.search(r"\n|\[SQL|SELECT", said)
    )


# PostgreSQL ends the connection itself, in the savepoint of a row that may be missing: an event, or a document's own row.
LOST_IN = {
    "an event": "knowledge_batch_event FOR EACH ROW WHEN (left(NEW.key, 8) = 'ended:b:')",
    "a document's row": "knowledge_workflow_execution FOR EACH ROW WHEN (NEW.input->>'documentId' = 'b')",
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
@pytest.mark.parametrize("where", LOST_IN)
def test_a_connection_lost_in_a_savepoint_is_named_and_not_taken_for_best_effort(
    where: str, mode: str, upgraded_postgres_database: str, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", upgraded_postgres_database)
    store = Store.from_settings()
    with store.database.write() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.exec_driver_sql(f"CREATE TRIGGER lost BEFORE INSERT ON {LOST_IN[where]} EXECUTE FUNCTION lose()")
    documents = [faults.document(name) for name in "abc"]
    with pytest.raises(BatchInfrastructureError) as raised:
        flows.run_batch(request_of(documents, "lost", concurrency=1), mode)
    assert (raised.value.batch_id, raised.value.operation) == ("lost", "batch_run_dispatch")
    assert raised.value.reason == "OperationalError: terminating connection due to administrator command"
    with store.database.write() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER lost ON {LOST_IN[where].split()[0]}")
        connection.execute(sqlalchemy.text("UPDATE knowledge_batch_run SET heartbeat_at = '2000-01-01'"))
    assert flows.resume_batch("lost", "legacy").success_count == 3
    assert isinstance(flows.get_status("lost"), Completed)


class CutsOff(faults.ScriptedExtractor):
    """Takes the database away while it works on document b."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        result = super().run(text, ontology_content, config)
        if config.document_id == "b":
            url = sqlalchemy.make_url(Store.from_settings().database.url)
            administrator = sqlalchemy.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
            with administrator.connect() as connection:
                connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
                connection.exec_driver_sql(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
                )
            administrator.dispose()
        return result


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_database_that_goes_away_in_the_middle_ends_the_call_and_costs_no_attempt(
    mode: str, upgraded_postgres_database: str, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", upgraded_postgres_database)
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:CutsOff")
    documents = [faults.document(name) for name in "abc"]
    with pytest.raises(BatchInfrastructureError, match=r"go on with knowledge-batch resume gone$") as raised:
        flows.run_batch(request_of(documents, "gone", concurrency=1), mode)
    assert "not currently accepting connections" in raised.value.reason
    assert "\n" not in str(raised.value)
    assert faults.knocks() == {"a": 1, "b": 1}
