"""What KNOWLEDGE_DATABASE_URL may be, and what is said of the rest."""

import pytest

from compat.database import Database
from compat.errors import InvalidInputError

REFUSED = {
    "postgresql+asyncpg://me:hush@here/x": r"postgresql\+asyncpg isn't supported; write .*postgresql\+psycopg://USER@HOST/NAME",
    "postgresql+psycopg2://me:hush@here/x": r"postgresql\+psycopg2 isn't supported; write",
    "postgres://me:hush@here/x": r"'postgres://…': postgres isn't supported; write .*postgresql\+psycopg://",
    "sqlite+aiosqlite:///hush.db": r"sqlite\+aiosqlite isn't supported; write sqlite:///FILE",
    "mysql://me:hush@here/x": "mysql isn't supported",
    "postgresql://me:hush@here:five/x": "its port is no number; write HOST:5432, and a .* of a password as %2F and %40",
    "sqlite:///": "name a file: sqlite:///FILE",
    "nonsense": "is no database URL",
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
