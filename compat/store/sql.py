"""The statements that SQLAlchemy spells by dialect, spelled once."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Function, Select, func
from sqlalchemy import Row as Record
from sqlalchemy.orm import InstrumentedAttribute

from compat.store.schema import Base, Utc

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

Row = TypeVar("Row")

# Documents that are read or written at a time; one may be a megabyte.
DOCUMENTS = 100
# Ids in one query; SQLite takes 32,766 parameters.
IDS = 1_000


def blocks(rows: Iterable[Row], size: int = DOCUMENTS) -> Iterator[list[Row]]:
    """Yield the rows in their order, as lists of at most ``size``."""
    rows = iter(rows)
    while block := list(islice(rows, size)):
        yield block


def pages(
    connection: Connection, query: Select[Any], number: InstrumentedAttribute[int], size: int = IDS
) -> Iterator[Sequence[Record[Any]]]:
    """Yield the rows of a query in the order of a number that no two of them share, as pages of at most ``size``.

    Each page is a query of its own: PostgreSQL's driver would have the answer to a single one in memory as a whole.
    """
    query = query.order_by(number).limit(size)
    page = connection.execute(query).all()
    while page:
        yield page
        after = page[-1]._mapping[number.key]
        page = connection.execute(query.where(number > after)).all() if len(page) == size else []


def clock() -> Function[datetime]:
    """Return the database's clock as an expression, the one clock by which leases are compared.

    On PostgreSQL the server's. SQLite has none: it asks the process that reads, so there a connection brings its own,
    see ``compat.store.database``.
    """
    # Not CURRENT_TIMESTAMP, which stands still for as long as a transaction waits for a lock.
    return func.clock_timestamp(type_=Utc)


def _insert(connection: Connection, table: type[Base]) -> "postgresql.Insert | sqlite.Insert":
    # Only the dialect that is in use is loaded.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_into_postgresql

        return insert_into_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert

    return insert(table)


def insert_or_ignore(connection: Connection, table: type[Base], *rows: dict[str, Any]) -> None:
    """Insert the rows whose keys are free."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), list(rows))


def insert_if_new(connection: Connection, table: type[Base], row: dict[str, Any]) -> bool:
    """Insert a row unless its key is taken. Return whether it was inserted, which is true for one of many writers."""
    # Asked for by RETURNING: drivers count the rows of an insert in ways of their own.
    key = next(iter(table.__table__.primary_key))
    return connection.execute(_insert(connection, table).values(row).on_conflict_do_nothing().returning(key)).first() is not None


def upsert(connection: Connection, table: type[Base], row: dict[str, Any], keep: Sequence[str] = ()) -> None:
    """Insert a row, or overwrite the one with the same primary key, except for its columns ``keep``."""
    keys = [column.name for column in table.__table__.primary_key]
    changed = {name: value for name, value in row.items() if name not in keys and name not in keep}
    connection.execute(_insert(connection, table).values(row).on_conflict_do_update(index_elements=keys, set_=changed))


def seconds_now(connection: Connection) -> float:
    """Return the time by the database's clock, in seconds since 1970."""
    moment = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    # SQLite's is text without its zone.
    moment = datetime.fromisoformat(moment).replace(tzinfo=UTC) if isinstance(moment, str) else moment
    return float(moment.timestamp())
