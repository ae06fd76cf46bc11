"""Real parts for every test: a Prefect server for the session, a store of its own, the scripted extractor."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

import faults
import postgres

TESTS = Path(__file__).parent
DATA = TESTS.parents[1] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="where stores lie; with postgresql only the tests that have one are run",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("database") == "sqlite":
        return
    kept, left_out = [], []
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else []
        (kept if "database_kind" in fixtures else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def database_kind(pytestconfig: pytest.Config) -> str:
    """The database that this run of the suite has its stores on."""
    return str(pytestconfig.getoption("database"))


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
    with postgres.cluster(programs) as cluster:
        yield cluster.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'home' / 'knowledge.db'}"


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """An empty database of the test's own on the session's server."""
    with postgres.fresh(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a database with tables, of which others are copies: sooner than making them each time."""
    with postgres.fresh(postgres_url) as url:
        postgres.upgrade(url)
        yield str(sqlalchemy.make_url(url).database)


@pytest.fixture
def upgraded_postgres_database(postgres_url: str, postgres_template: str) -> Iterator[str]:
    """A database of the test's own, with tables."""
    with postgres.fresh(postgres_url, postgres_template) as url:
        yield url


@pytest.fixture
def store_url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of a store of the test's own."""
    return str(request.getfixturevalue("sqlite_url" if database_kind == "sqlite" else "upgraded_postgres_database"))


@pytest.fixture
def environment(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment of the test's own: home, store, the scripted extractor, and no long waits."""
    for name in [name for name in os.environ if name.startswith("KNOWLEDGE_") and not name.startswith("KNOWLEDGE_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KNOWLEDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KNOWLEDGE_DATABASE_URL", store_url)
    monkeypatch.setenv("KNOWLEDGE_EXTRACTOR", faults.NAME)
    monkeypatch.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.001")
    monkeypatch.setenv("KNOWLEDGE_SOURCES_ALLOW", str(tmp_path))
    # A busy machine must not send a batch back to legacy; the tests of the bound itself set it.
    monkeypatch.setenv("KNOWLEDGE_PREFECT_TIMEOUT_SECONDS", "60")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    monkeypatch.setenv(faults.DOOR, str(tmp_path / "door"))
    return monkeypatch


@pytest.fixture
def nobody_submits(environment: pytest.MonkeyPatch) -> None:
    """Shadows stay requested, as if their submitting process had died: it loads Prefect, and these tests look elsewhere."""
    environment.setattr("sys.executable", shutil.which("true"))


@pytest.fixture
def request_of() -> Any:
    """Builds the JSON of a request."""

    def build(documents: list[dict[str, str]], batch_id: str | None = None, **config: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"organizationId": "org", "ontologyId": "ontology", "documents": documents, "config": config}
        return params if batch_id is None else {**params, "batchId": batch_id}

    return build
