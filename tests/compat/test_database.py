"""What KNOWLEDGE_DATABASE_URL may be, and what is said of the rest."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlalchemy import create_engine, text

import faults
import flows
from compat.errors import InvalidInputError
from compat.store.database import POOL_OVERFLOW, POOL_SIZE, Database

REFUSED = {
    "postgresql+asyncpg://me:hush@here/x": r"postgresql\+asyncpg isn't supported; write .*postgresql\+psycopg://USER@HOST/NAME",
    "postgresql+psycopg2://me:hush@here/x": r"postgresql\+psycopg2 isn't supported; write",
    "postgres://me:hush@here/x": r"'postgres://…': postgres isn't supported; write .*postgresql\+psycopg://",
    "sqlite+aiosqlite:///hush.db": r"sqlite\+aiosqlite isn't supported; write sqlite:///FILE",
    "mysql://me:hush@here/x": "mysql isn't supported",
    "postgresql://me:hush@here:five/x": "its port is not a number; write HOST:5432, and a .* of a password as %2F and %40",
    "sqlite:///": "name a file: sqlite:///FILE",
    "nonsense": "is not a database URL",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(InvalidInputError, match=f"KNOWLEDGE_DATABASE_URL = .*{REFUSED[url]}") as raised:
        Database(url)
    assert "hush" not in str(raised.value)


def test_postgresql_needs_no_driver_in_its_url(postgres_database: str) -> None:
    database = Database(postgres_database.replace("postgresql+psycopg://", "postgresql://"), upgrade=True)
    assert database.engine.driver == "psycopg"
    database.engine.dispose()


def test_a_process_takes_no_more_of_postgresqls_connections_than_the_guide_says(
    upgraded_postgres_database: str, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", upgraded_postgres_database)
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:indifferent")
    ended = Event()

    def most() -> int:
        seen = [0]
        watcher = create_engine(upgraded_postgres_database, isolation_level="AUTOCOMMIT")
        count = text("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")
        with watcher.connect() as connection:
            while not ended.wait(0.02):
                seen.append(int(connection.execute(count).scalar_one()))
        watcher.dispose()
        return max(seen)

    with ThreadPoolExecutor() as pool:
        watched = pool.submit(most)
        requests = [
            request_of([faults.document(f"d{n}") for n in range(40)], f"b{number}", concurrency=20) for number in range(4)
        ]
        try:
            results = list(pool.map(flows.run_batch, requests))
        finally:
            ended.set()
    assert [result.success_count for result in results] == [40] * 4
    assert 5 <= watched.result() <= POOL_SIZE + POOL_OVERFLOW == 10
