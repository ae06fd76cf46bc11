"""What operators do now and then: prune what is old, back up and restore, upgrade while a batch is under way."""

import json
import os
import shutil
import signal
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pages
import processes
import pytest
from alembic import command as alembic
from alembic.config import Config
from sqlalchemy import create_engine, func, insert, make_url, select, update

import faults
import flows
import legacy
import postgres
from compat.contracts import BatchParams, utc_now
from compat.cutover import record
from compat.errors import BatchAlreadyRunningError
from compat.modes import Decision, Mode
from compat.recording.recorder import Recorder
from compat.store import Store, migrations, shadow_requests
from compat.store.schema import Base, BatchExecution, FanOutBatch, FanOutRow
from flows.operations import prune

DAY = timedelta(days=1)
# Rows of these are no batch's.
KEPT = {
    "knowledge_parity_report",
    "knowledge_parity_baseline",
    "knowledge_batch_check",
    "knowledge_cutover_record",
    "knowledge_switch",
}


def counts(store: Store) -> dict[str, int]:
    """How many rows each table has, without those that have none."""
    with store.database.read() as connection:
        found = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }
    return {name: count for name, count in found.items() if count}


def age(store: Store, batch_id: str, days: int) -> None:
    with store.database.write() as connection:
        old = update(BatchExecution).where(BatchExecution.id == batch_id)
        connection.execute(old.values(completed_at=utc_now() - days * DAY, created_at=utc_now() - days * DAY))


def served(store: Store, params: BatchParams) -> None:
    """A batch that legacy has served in this store."""
    claim = store.claim(params, Decision(Mode.LEGACY, "a test"))
    assert claim is not None
    with Recorder(store, claim, 0.0) as recorder:
        legacy.run(recorder, faults.scripted())


def fan_out(store: Store, *batch_ids: str) -> None:
    """A fan-out of long ago into these batches."""
    row = {
        "id": "fan-out", "organization_id": "org", "ontology_id": "ontology", "documents_per_batch": 1,
        "batch_count": len(batch_ids), "config": {}, "mode": "", "extractor": "", "created_at": utc_now() - 40 * DAY,
    }  # fmt: skip
    with store.database.write() as connection:
        connection.execute(insert(FanOutRow).values(row))
        for number, batch_id in enumerate(batch_ids, 1):
            part = {"fan_out_id": "fan-out", "number": number, "batch_id": batch_id, "documents": 1, "params_hash": "hash"}
            connection.execute(insert(FanOutBatch).values(part))


# --- Prune ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("environment")
def test_a_pruned_batch_leaves_no_row_in_any_table_and_the_others_all_of_theirs(request_of: Any) -> None:
    main, shadows = Store.from_settings(), Store.of_shadows()
    documents = [faults.document("a"), faults.document("b", fail=1), faults.document("c", fail=faults.ALWAYS)]
    young = {**request_of(documents, "young"), "ontologyId": "other"}
    served(main, BatchParams.parse(young))
    record.set_mode(main.database, "legacy", None)
    before = counts(main)
    for store in (main, shadows):
        old = request_of([{**each, "ontologyContent": "old"} for each in documents], "old")
        served(store, BatchParams.parse(old))
        age(store, "old", 30)
    fan_out(main, "old")
    found = prune.look(main, shadows, 29 * DAY)
    assert (found.old.batches, found.old.documents, found.old.shadow_runs) == (1, 3, 1)
    assert counts(main) != before
    removed = prune.prune(main, shadows, 29 * DAY)
    assert removed.old == found.old
    assert counts(main) == before
    assert set(counts(shadows)) <= KEPT
    assert main.result("young").total_documents == 3


@pytest.mark.usefixtures("environment")
def test_what_the_gate_judges_by_and_what_is_not_over_is_kept_and_said(request_of: Any) -> None:
    main, shadows = Store.from_settings(), Store.of_shadows()
    for name in ("this week", "wants a shadow"):
        served(main, BatchParams.parse(request_of([faults.document(name)], name)))
    main.claim(BatchParams.parse(request_of([faults.document("d")], "not over")), Decision(Mode.LEGACY, "a test"))
    claim = main.claim(
        BatchParams.parse(request_of([], "asks for a shadow")), Decision(Mode.SHADOW, "a test"), companion=shadow_requests.add_for
    )
    assert claim is not None
    main.finish(claim)
    age(main, "this week", 3)
    age(main, "asks for a shadow", 30)
    age(main, "wants a shadow", 30)
    with main.database.write() as connection:
        connection.execute(update(BatchExecution).where(BatchExecution.id == "not over").values(created_at=utc_now() - 30 * DAY))
    found = prune.prune(main, shadows, DAY)
    assert (found.old.batches, found.kept.in_gate_window, found.kept.unfinished, found.kept.awaiting_shadow) == (1, 1, 1, 1)
    assert {batch.batch_id for batch in flows.list_batches()} == {"this week", "not over", "asks for a shadow"}


@pytest.mark.usefixtures("environment")
def test_the_batches_of_a_fan_out_go_together(request_of: Any) -> None:
    main, shadows = Store.from_settings(), Store.of_shadows()
    for name in ("first", "second"):
        served(main, BatchParams.parse(request_of([faults.document(name)], name)))
    fan_out(main, "first", "second")
    age(main, "first", 30)
    assert prune.prune(main, shadows, 10 * DAY).old.batches == 0
    age(main, "second", 20)
    assert prune.prune(main, shadows, 10 * DAY).old.batches == 2
    assert set(counts(main)) <= KEPT


@pytest.mark.usefixtures("environment")
def test_a_batch_that_was_resumed_meanwhile_is_kept(request_of: Any) -> None:
    store = Store.from_settings()
    served(store, BatchParams.parse(request_of([faults.document("a", fail=faults.ALWAYS)], "again")))
    age(store, "again", 30)
    store.resume("again", Decision(Mode.LEGACY, "a test"))
    assert prune._remove_batch(store.database, "again", utc_now() - DAY) is None
    assert store.request("again").documents


# --- Backup and restore -----------------------------------------------------------------------------------------------


def follow(example: str, folder: Path, **variables: str) -> None:
    """Runs the commands of the docs, one after the other, in a folder of the operator's."""
    for line in pages.example(example).strip().splitlines():
        done = subprocess.run(["bash", "-euc", line], cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)


def begin(request_of: Any) -> "subprocess.Popen[str]":
    """A batch that is over, and one under way in a process of its own, with one of its two documents in work."""
    flows.run_batch(request_of([faults.document("a"), faults.document("b", fail=faults.ALWAYS)], "over"), "legacy")
    request = request_of([faults.document("first"), faults.document("second", held=True)], "under way", concurrency=1)
    child = processes.start(processes.RUN, "legacy", request=json.dumps(request))
    processes.wait_until(lambda: faults.knocks()["second"] == 1)
    return child


def assert_restored(request_of: Any, environment: pytest.MonkeyPatch) -> None:
    """What was over is whole; what was under way goes on once its lease has run out, and does again only what was in work."""
    result = Store.from_settings().result("over")
    assert (result.success_count, result.failure_count) == (1, 1)
    assert (
        flows.run_batch(request_of([faults.document("a"), faults.document("b", fail=faults.ALWAYS)], "over"), "legacy") == result
    )
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "0.5")
    processes.wait_until(lambda: type(flows.get_status("under way")).__name__ == "Failed")
    assert flows.resume_batch("under way", "legacy").success_count == 2
    assert faults.knocks() == {"a": 1, "b": 4, "first": 1, "second": 2}
    assert [event.document_id for event in flows.subscribe("under way") if type(event).__name__ == "DocumentCompleted"] == [
        "first",
        "second",
    ]


def test_a_backup_of_sqlite_that_is_taken_while_a_batch_works_is_restored(
    environment: pytest.MonkeyPatch, sqlite_url: str, request_of: Any, tmp_path: Path
) -> None:
    home, desk = tmp_path / "home", tmp_path / "desk"
    desk.mkdir()
    environment.setenv("KNOWLEDGE_DATABASE_URL", sqlite_url)
    Store.of_shadows()
    child = begin(request_of)
    follow("back up SQLite", desk, KNOWLEDGE_HOME=str(home))
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    # All that came after the backup is lost, and more: the disk with it.
    faults.knocks()
    new = tmp_path / "new"
    new.mkdir()
    follow("restore SQLite", desk, KNOWLEDGE_HOME=str(new))
    environment.setenv("KNOWLEDGE_HOME", str(new))
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{new / 'knowledge.db'}")
    assert_restored(request_of, environment)
    assert (new / "knowledge.shadow.db").exists()


def test_a_backup_of_postgresql_that_is_taken_while_a_batch_works_is_restored(
    environment: pytest.MonkeyPatch, upgraded_postgres_database: str, postgres_url: str, request_of: Any, tmp_path: Path
) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump here: install Debian's postgresql-client")
    desk = tmp_path / "desk"
    desk.mkdir()
    environment.setenv("KNOWLEDGE_DATABASE_URL", upgraded_postgres_database)
    child = begin(request_of)
    follow("back up PostgreSQL", desk, DATABASE=plain(upgraded_postgres_database))
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    with postgres.fresh(postgres_url) as other:
        follow("restore PostgreSQL", desk, DATABASE=plain(other))
        environment.setenv("KNOWLEDGE_DATABASE_URL", other)
        assert_restored(request_of, environment)
        assert Store.of_shadows().summaries() == []
        for store in (Store.from_settings(), Store.of_shadows()):
            store.database.engine.dispose()


def plain(url: str) -> str:
    """The URL as PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


# --- Upgrade ----------------------------------------------------------------------------------------------------------


# What the last revision brought to the code: lines that the version before has not.
LAST = {
    # Other indexes: the code before them runs on either schema.
    "compat/store/migrations/__init__.py": [f', "{migrations.HEAD}"'],
}


@pytest.fixture(scope="session")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as it was before the schema's last revision."""
    folder = tmp_path_factory.mktemp("older")
    for package in ("compat", "tasks", "legacy", "flows", "deployments"):
        shutil.copytree(pages.ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, lines in LAST.items():
        code = (folder / name).read_text(encoding="utf-8")
        for line in lines:
            assert code.count(line) == 1, f"say in LAST what revision {migrations.HEAD} brought to {name}"
            code = code.replace(line, "")
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("end", ["goes on", "killed"])
def test_an_upgrade_leaves_a_batch_of_the_older_version_that_is_under_way_alone(
    kind: str,
    end: str,
    version_before: Path,
    environment: pytest.MonkeyPatch,
    request_of: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    url = str(request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_database"))
    (tmp_path / "home").mkdir(exist_ok=True)
    last = migrations.REVISIONS[-2]
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "compat.store:migrations")
        config.attributes["connection"] = connection
        alembic.upgrade(config, last)
    engine.dispose()
    environment.setenv("KNOWLEDGE_DATABASE_URL", url)
    documents = [faults.document("first"), faults.document("second", held=True), faults.document("third")]
    older = os.pathsep.join([str(version_before), str(pages.ROOT / "tests")])
    child = processes.start(
        processes.RUN,
        "legacy",
        request=json.dumps(request_of(documents, "under way", concurrency=1)),
        PYTHONPATH=older,
        PYTHONSAFEPATH="1",
    )
    processes.wait_until(lambda: faults.knocks()["second"] == 1 or child.poll() is not None)
    assert child.poll() is None, child.communicate()
    with create_engine(url).connect() as connection:
        # It is the older version: ours would have upgraded the file.
        assert migrations.current(connection) == last
    postgres.upgrade(url)
    assert type(flows.get_status("under way")).__name__ == "Extracting"
    with pytest.raises(BatchAlreadyRunningError):
        flows.resume_batch("under way", "legacy")
    assert flows.run_batch(request_of([faults.document("new")], "new"), "legacy").success_count == 1
    if end == "killed":
        child.send_signal(signal.SIGKILL)
        environment.setenv("KNOWLEDGE_LEASE_SECONDS", "0.5")
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == (0 if end == "goes on" else -signal.SIGKILL), child.communicate()
    if end == "killed":
        processes.wait_until(lambda: type(flows.get_status("under way")).__name__ == "Failed")
        assert flows.resume_batch("under way", "legacy").success_count == 3
    assert Store.from_settings().result("under way").success_count == 3
    assert faults.knocks() == {"first": 1, "second": 2 if end == "killed" else 1, "third": 1, "new": 1}
    Store.from_settings().database.engine.dispose()
