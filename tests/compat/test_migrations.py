"""The schema's versions: an older database opens and reads, a newer one is refused, and both ways to the newest are the same."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, insert, select, text

import flows.entrypoint
import postgres
from compat.contracts import utc_now
from compat.errors import SchemaVersionError
from compat.store import Store, migrations
from compat.store.database import SHADOW, Database
from compat.store.schema import Base, WorkflowExecution

# Written by the code of 0001: a batch that is completed, and one that has failed.
OLD = Path(__file__).parent / "old" / "0001.sql"


def config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "compat.store:migrations")
    config.attributes["connection"] = connection
    return config


@contextmanager
def bare(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def migrated(url: str, revision: str = "head") -> None:
    """An empty database, brought to a revision one by one."""
    with bare(url) as connection:
        command.upgrade(config(connection), revision)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(environment: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, on each of the two."""
    (tmp_path / "home").mkdir()
    url = str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_database"))
    environment.setenv("KNOWLEDGE_DATABASE_URL", url)
    return url


@pytest.fixture
def old(sqlite_url: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> str:
    (tmp_path / "home").mkdir()
    with sqlite3.connect(tmp_path / "home" / "knowledge.db") as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    connection.close()
    environment.setenv("KNOWLEDGE_DATABASE_URL", sqlite_url)
    return sqlite_url


@pytest.fixture
def old_on_postgresql(postgres_database: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The same rows in PostgreSQL's tables of 0001."""
    with sqlite3.connect(tmp_path / "0001.db") as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    connection.close()
    migrated(postgres_database, "0001")
    with bare(f"sqlite:///{tmp_path / '0001.db'}") as source, bare(postgres_database) as target:
        # The first tables were written without saying which they are.
        target.execute(text(f"DROP TABLE {migrations.TABLE}"))
        theirs, ours = MetaData(), MetaData()
        theirs.reflect(source)
        ours.reflect(target)
        for table in ours.sorted_tables:
            rows = [dict(row) for row in source.execute(select(theirs.tables[table.name])).mappings()]
            if rows:
                target.execute(insert(table), [{name: in_utc(value) for name, value in row.items()} for row in rows])
    environment.setenv("KNOWLEDGE_DATABASE_URL", postgres_database)
    return postgres_database


def in_utc(value: object) -> object:
    """SQLite keeps no zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def test_the_list_of_revisions_is_alembics() -> None:
    script = ScriptDirectory.from_config(config())
    assert [revision.revision for revision in script.walk_revisions()] == list(reversed(migrations.REVISIONS))


@pytest.mark.filterwarnings("ignore:.*expression-based index:Warning")
def test_the_revisions_one_by_one_make_the_schema(empty: str) -> None:
    migrated(empty)
    with bare(empty) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrations.TABLE, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_an_empty_database_gets_what_the_revisions_make(tmp_path: Path) -> None:
    one, other = f"sqlite:///{tmp_path / 'one.db'}", f"sqlite:///{tmp_path / 'other.db'}"
    migrated(one)
    Database(other)
    schema = "SELECT name, replace(replace(sql, char(10), ''), char(9), '') FROM sqlite_master ORDER BY name"
    with bare(one) as connection, bare(other) as again:
        made = {name: sorted(sql or "") for name, sql in connection.execute(text(schema))}
        assert made == {name: sorted(sql or "") for name, sql in again.execute(text(schema))}


def test_a_database_of_an_older_version_opens_and_reads(old: str) -> None:
    assert {batch.batch_id: batch.status for batch in flows.list_batches()} == {
        "from 0001": "completed",
        "failed in 0001": "failed",
    }
    store = Store.from_settings()
    assert store.result("from 0001").entity_count == 3
    assert type(store.failures("failed in 0001")["a"].__cause__).__name__ == "FlakyServiceError"
    with store.database.read() as connection:
        assert migrations.current(connection) == migrations.HEAD


def test_a_batch_that_failed_under_an_older_version_goes_on(old: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:indifferent")
    assert flows.resume_batch("failed in 0001").success_count == 1


@pytest.mark.filterwarnings("ignore:.*expression-based index:Warning")
def test_on_postgresql_a_database_of_an_older_version_reads_and_goes_on_once_it_is_upgraded(
    old_on_postgresql: str, sqlite_url: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SchemaVersionError, match=r"has schema 0001.*run: knowledge-batch db upgrade"):
        flows.list_batches()
    postgres.upgrade(old_on_postgresql)
    assert {batch.batch_id: batch.status for batch in flows.list_batches()} == {
        "from 0001": "completed",
        "failed in 0001": "failed",
    }
    store = Store.from_settings()
    assert type(store.failures("failed in 0001")["a"].__cause__).__name__ == "FlakyServiceError"
    events = list(flows.subscribe("from 0001"))
    assert (type(events[0]).__name__, type(events[-1]).__name__) == ("BatchCreated", "BatchCompleted")
    # What SQLite gives of the same rows.
    result = store.result("from 0001")
    (tmp_path / "home").mkdir()
    shutil.copy(tmp_path / "0001.db", tmp_path / "home" / "knowledge.db")
    environment.setenv("KNOWLEDGE_DATABASE_URL", sqlite_url)
    assert Store.from_settings().result("from 0001") == result
    environment.setenv("KNOWLEDGE_DATABASE_URL", old_on_postgresql)
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:indifferent")
    assert flows.resume_batch("failed in 0001").success_count == 1
    store.database.engine.dispose()


def test_many_that_open_an_older_database_at_once_upgrade_it_once(old: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        databases = list(pool.map(lambda _: Database(old), range(8)))
    for database in databases:
        with database.read() as connection:
            assert migrations.current(connection) == migrations.HEAD


def test_on_postgresql_older_tables_are_refused_until_they_are_upgraded(
    postgres_database: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", postgres_database)
    with pytest.raises(SchemaVersionError, match=r"has no tables.*run: knowledge-batch db upgrade"):
        flows.list_batches()
    migrated(postgres_database, "0001")
    with pytest.raises(SchemaVersionError, match=r"has schema 0001.*run: knowledge-batch db upgrade"):
        flows.list_batches()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(postgres.upgrade, [postgres_database] * 4))
    assert flows.list_batches() == []
    assert Store.of_shadows().summaries() == []


def test_a_demotion_of_an_older_version_holds(empty: str) -> None:
    migrated(empty, "0002")
    with bare(empty) as connection:
        connection.execute(text("INSERT INTO knowledge_switch VALUES ('latch', 'too many differences', '2026-01-01 00:00:00')"))
    postgres.upgrade(empty)
    assert flows.current_mode("engine").reason == "demoted: too many differences"
    flows.entrypoint.demote(None)
    assert flows.current_mode("engine").reason == "asked for by the caller"


def test_what_a_newer_version_wrote_is_refused(empty: str) -> None:
    Database(empty, upgrade=True)
    with bare(empty) as connection:
        connection.execute(text(f"UPDATE {migrations.TABLE} SET version_num = '9999'"))
    for upgrade in (False, True):
        with pytest.raises(SchemaVersionError, match="9999, written by a newer knowledge-batch"):
            Database(empty, upgrade=upgrade)


def test_a_prefect_server_may_share_the_database(empty: str) -> None:
    with bare(empty) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    Database(empty, upgrade=True)
    with bare(empty) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["theirs"]


def test_an_old_readers_query_uses_its_index(postgres_database: str) -> None:
    database = Database(postgres_database, upgrade=True)
    now = utc_now()
    rows = [
        {
            "id": f"w{number}",
            "organization_id": "o",
            "created_at": now,
            "updated_at": now,
            "workflow_type": "extraction" if number % 20 else "batch_extraction",
            "status": "completed",
            "input": {"batchId": f"b{number}"},
            "retry_count": 0,
        }
        for number in range(20_000)
    ]
    with database.write() as connection:
        connection.execute(WorkflowExecution.__table__.insert(), rows)  # type: ignore[attr-defined]
    query = (
        "SELECT * FROM knowledge_workflow_execution WHERE workflow_type = 'batch_extraction' "
        "AND input->>'batchId' = 'b1000' ORDER BY created_at DESC LIMIT 1"
    )
    with database.read() as connection:
        connection.execute(text("ANALYZE knowledge_workflow_execution"))
        plan = json.dumps(connection.execute(text(f"EXPLAIN (FORMAT JSON) {query}")).scalar())
        assert connection.execute(text(query)).one().id == "w1000"
    assert "ix_knowledge_workflow_execution_batch" in plan
    assert "Seq Scan" not in plan
    database.engine.dispose()


def test_shadows_are_upgraded_with_the_rest(sqlite_url: str) -> None:
    Database(sqlite_url, SHADOW)
    with bare(sqlite_url.replace(".db", ".shadow.db")) as connection:
        assert migrations.current(connection) == migrations.HEAD
