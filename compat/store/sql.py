"""The statements that SQLAlchemy spells by dialect, spelled once."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from compat.store.schema import Base

Item = TypeVar("Item")

# Documents that are read or written at a time; one may be a megabyte.
BLOCK = 100


def blocks(items: Iterable[Item], size: int = BLOCK) -> Iterator[list[Item]]:
    """The items in their order, as lists of at most ``size``."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


def _insert(connection: Connection, table: type[Base]) -> "postgresql.Insert | sqlite.Insert":
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def insert_or_ignore(connection: Connection, table: type[Base], *rows: dict[str, Any]) -> None:
    """Inserts the rows whose keys are free."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), list(rows))


def insert_if_new(connection: Connection, table: type[Base], row: dict[str, Any]) -> bool:
    """Inserts a row unless its key is taken. Whether it was free, which of many writers is true for one."""
    # Asked for by RETURNING: drivers count the rows of an insert in ways of their own.
    key = next(iter(table.__table__.primary_key))
    return connection.execute(_insert(connection, table).values(row).on_conflict_do_nothing().returning(key)).first() is not None


def upsert(connection: Connection, table: type[Base], row: dict[str, Any], keep: Sequence[str] = ()) -> None:
    """Inserts a row, or overwrites the one of the same primary key except for its columns ``keep``."""
    keys = [column.name for column in table.__table__.primary_key]
    changed = {name: value for name, value in row.items() if name not in keys and name not in keep}
    connection.execute(_insert(connection, table).values(row).on_conflict_do_update(index_elements=keys, set_=changed))


def seconds_now(connection: Connection) -> float:
    """Now by the database's clock, in seconds since 1970. A SQLite file and all its users are on one machine."""
    if connection.dialect.name == "postgresql":
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    return time.time()
