"""The database behind the store: SQLite in WAL, or PostgreSQL; write transactions that queue instead of failing."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from compat.errors import InvalidInputError, Problem
from compat.schema import Base

# How long a writer waits for another one, in seconds.
BUSY_SECONDS = 60.0
# Threads of one batch (20 at most) that write at the same time get a connection each.
POOL_SIZE, POOL_OVERFLOW = 5, 20


class Database:
    """An engine with the two kinds of transaction that the store needs."""

    def __init__(self, url: str) -> None:
        """Opens the database and makes the tables that are missing. Raises InvalidInputError for a URL that can't be one."""
        self.url = url
        self.engine = _engine(url)
        self.dialect = self.engine.dialect.name
        with self.write() as connection:
            if self.dialect == "postgresql":
                # Two processes that make the same table at once fail each other, IF NOT EXISTS or not.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('knowledge-batch schema'))")
            Base.metadata.create_all(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start, so what it reads stays true until it commits."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Reads that wait for no writer. Each statement sees what was committed before it."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection


@lru_cache(maxsize=16)
def _database(url: str, pid: int) -> Database:
    return Database(url)


def database(url: str) -> Database:
    """The database of this URL, opened once a process; a forked child opens its own."""
    return _database(url, os.getpid())


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _refused(url, "is no database URL; use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME") from None
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise _refused(url, "a database in memory is seen by one process only; name a file: sqlite:///FILE")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    if parsed.get_backend_name() == "postgresql":
        try:
            return create_engine(parsed, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise _refused(url, f"needs {error.name}; install knowledge-batch[postgres]") from None
    raise _refused(url, f"{parsed.get_backend_name()} isn't supported; use sqlite or postgresql+psycopg")


def _refused(url: str, advice: str) -> InvalidInputError:
    # A URL may hold a password; up to the scheme it tells enough.
    return InvalidInputError([Problem("KNOWLEDGE_DATABASE_URL", url.partition("://")[0] + "://…", advice)])


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver must not open transactions of its own: ours begin with the write lock, see below.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enter_wal(cursor)
    # In WAL this survives a killed process; a power cut may lose the last commits, never the file.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _enter_wal(cursor: Any) -> None:
    # A new file becomes WAL under an exclusive lock, and whom that meets SQLite fails at once, whatever the
    # busy timeout (a wait there could be a deadlock). The one who is inside takes milliseconds.
    given_up = monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > given_up:
                raise
            sleep(0.01)


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later can't be upgraded while another one writes;
    # SQLite fails it at once, whatever the busy timeout. Taking the lock at the start queues instead.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
