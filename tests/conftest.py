"""Real parts for every test: a Prefect server for the session, a store of its own, the scripted extractor."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

import faults
import postgres

TESTS = Path(__file__).parent
DATA = TESTS.parents[1] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The real documents beside the checkout."""
    if not DATA.is_dir():
        pytest.skip(f"no real documents at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real Prefect server with a database of its own, once a session."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the session: the one that KNOWLEDGE_TEST_POSTGRES_URL names, or one of our own."""
    given = os.environ.get("KNOWLEDGE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's postgresql, or set KNOWLEDGE_TEST_POSTGRES_URL")
    with postgres.cluster(programs) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'home' / 'knowledge.db'}"


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """An empty database of the test's own on the session's server."""
    with fresh_database(postgres_url, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a database with tables, of which others are copies: sooner than making them each time."""
    with fresh_database(postgres_url, "template1") as url:
        postgres.upgrade(url)
        yield str(sqlalchemy.make_url(url).database)


@contextmanager
def fresh_database(server: str, template: str) -> Iterator[str]:
    name = f"kb_{uuid.uuid4().hex[:12]}"
    administrator = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    administrator.dispose()


@pytest.fixture
def upgraded_postgres_database(postgres_url: str, postgres_template: str) -> Iterator[str]:
    """A database of the test's own, with tables."""
    with fresh_database(postgres_url, postgres_template) as url:
        yield url


@pytest.fixture
def environment(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment of the test's own: home, SQLite, the scripted extractor, and no long waits."""
    for name in [name for name in os.environ if name.startswith("KNOWLEDGE_") and not name.startswith("KNOWLEDGE_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KNOWLEDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KNOWLEDGE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWLEDGE_EXTRACTOR", faults.NAME)
    monkeypatch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.001")
    monkeypatch.setenv(faults.DOOR, str(tmp_path / "door"))
    return monkeypatch


@pytest.fixture(params=["sqlite", "postgresql"])
def on_any_database(environment: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The environment, on each of the two databases in turn."""
    url = str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "upgraded_postgres_database"))
    environment.setenv("KNOWLEDGE_DATABASE_URL", url)
    return url


@pytest.fixture
def request_of() -> Any:
    """Builds the JSON of a request."""

    def build(documents: list[dict[str, str]], batch_id: str | None = None, **config: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"organizationId": "org", "ontologyId": "ontology", "documents": documents, "config": config}
        return params if batch_id is None else {**params, "batchId": batch_id}

    return build
