"""Transactions on the database driver itself, without SQLAlchemy, for what is written at every attempt."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from compat.store.database import Database
from compat.store.schema.statements import Parameters, Statement


class NotAsExpectedError(Exception):
    """A statement changed other rows than intended."""


class DriverTransaction:
    """A write transaction in work. Whatever is raised in it is the driver's own error."""

    def __init__(self, connection: Any, dialect: str) -> None:
        self._connection = connection
        self._dialect = dialect
        # Cursors whose counts are still to be seen: in PostgreSQL's pipeline they are known after its next answer.
        self._expected: list[tuple[Any, int]] = []

    def fetch(self, statement: Statement, parameters: Parameters) -> tuple[Any, ...] | None:
        """Execute a statement and return its row, if it has one."""
        cursor = self._connection.cursor()
        cursor.execute(statement.for_driver(self._dialect), parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows[0] if rows else None

    def write(self, statement: Statement, rows: Sequence[Parameters], *, each_changes_one: bool = False) -> None:
        """Execute a statement for every row. On PostgreSQL it may still be on its way when this returns."""
        cursor = self._connection.cursor()
        cursor.executemany(statement.for_driver(self._dialect), rows)
        if each_changes_one:
            self._expected.append((cursor, len(rows)))

    def check(self) -> None:
        """Raise NotAsExpectedError where a statement changed fewer rows than it was given."""
        if any(cursor.rowcount != count for cursor, count in self._expected):
            raise NotAsExpectedError


@contextmanager
def transaction(database: Database) -> Iterator[DriverTransaction]:
    """Open a transaction that holds the write lock from its start, and commit it at the end.

    On PostgreSQL its statements go out without waiting for one another's answers.
    """
    connection = database.engine.raw_connection()
    try:
        if database.dialect == "sqlite":
            connection.cursor().execute("BEGIN IMMEDIATE")
        driver: Any = connection.driver_connection
        with driver.pipeline() if database.dialect == "postgresql" else nullcontext():
            writes = DriverTransaction(connection, database.dialect)
            yield writes
        # Behind the pipeline's end, where every statement has its answer.
        writes.check()
        connection.commit()
    except BaseException:
        try:
            connection.rollback()
        except Exception:
            # The connection is lost: no further transaction gets it, and the first error is the one to tell.
            connection.invalidate()
        raise
    finally:
        connection.close()


def read(database: Database, statement: Statement, parameters: Parameters) -> list[tuple[Any, ...]]:
    """Return the rows of a query outside of any transaction. Raises what ``Database.read`` raises."""
    with database.read() as connection:
        rows = connection.exec_driver_sql(statement.for_driver(database.dialect), parameters)
        return [tuple(row) for row in rows]
