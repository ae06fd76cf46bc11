"""The database behind the store: SQLite in WAL, or PostgreSQL; write transactions that queue instead of failing."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from compat.errors import InvalidInputError, Problem, SchemaVersionError, StoreUnavailableError
from compat.store import migrations
from compat.store.failures import one_face

# Where shadows live: for SQLite a file of their own beside the main one, for PostgreSQL a schema of their own.
# Old readers look into neither, and a role that may only read the main schema is enough to run shadows.
SHADOW = "shadow"
SHADOW_SCHEMA = "knowledge_shadow"

DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")

# Rows of a long answer in memory at a time.
STREAMED = 1_000
# How long a writer waits for another one, in seconds.
BUSY_SECONDS = 60.0
# Connections of a process to a namespace: those that are kept, and those beyond that come and go. Twenty threads of a batch
# write one after the other anyway, behind the lock on their batch, and with ten connections sooner than with a connection
# each. They are what PostgreSQL's max_connections is counted in, see README.
POOL_SIZE, POOL_OVERFLOW = 5, 5
# Waiting for a connection is waiting for a writer. The one that was used last is used next: SQLite's connections remember the
# pages that they read or wrote until another connection writes.
POOL: dict[str, Any] = {
    "pool_size": POOL_SIZE,
    "max_overflow": POOL_OVERFLOW,
    "pool_timeout": BUSY_SECONDS,
    "pool_use_lifo": True,
}


class Database:
    """An engine with the two kinds of transaction that the store needs."""

    def __init__(self, url: str, namespace: str | None = None, upgrade: bool = False) -> None:
        """Open the database, or a namespace of it.

        Args:
            url: As SQLAlchemy has it. Raises InvalidInputError where it can't be one.
            namespace: ``SHADOW``, or none for the service's own.
            upgrade: Whether an older or empty PostgreSQL database is brought up to date; else it raises
                SchemaVersionError. A SQLite file always is: it is ours alone.
        """
        self.url = url
        self.engine = _engine(url, namespace)
        self.dialect = self.engine.dialect.name
        try:
            with self.read() as connection:
                if migrations.current(connection) == migrations.HEAD:
                    return
            self._migrate(namespace, upgrade)
        except StoreUnavailableError as error:
            if self.dialect != "sqlite":
                raise
            # SQLite says "unable to open database file", and not which.
            raise StoreUnavailableError(f"{error.reason} ({self.engine.url.database})") from error

    def _migrate(self, namespace: str | None, upgrade: bool) -> None:
        with self.write() as connection:
            if self.dialect == "postgresql":
                # Two processes that make the same table at once fail each other, IF NOT EXISTS or not.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('knowledge-batch schema'))")
            # Asked again: another process may have been faster.
            version = migrations.current(connection)
            if version == migrations.HEAD:
                return
            if version not in (None, *migrations.REVISIONS) or not (upgrade or self.dialect == "sqlite"):
                raise SchemaVersionError(namespace or "main", version, migrations.HEAD)
            # Asked first: IF NOT EXISTS wants the right to create even where there is nothing to create.
            if self.dialect == "postgresql" and namespace and not inspect(connection).has_schema(SHADOW_SCHEMA):
                connection.exec_driver_sql(f"CREATE SCHEMA {SHADOW_SCHEMA}")
            migrations.upgrade(connection, version)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock from its start, so what it reads stays true until it commits.

        Raises StoreUnavailableError, or UnkeepableDataError where a value is refused.
        """
        with one_face(), self.engine.connect() as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Have SQLite copy what was committed lately into its file, while others write. Elsewhere nothing."""
        if self.dialect == "sqlite":
            with self.read() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def stream(self) -> Iterator[Connection]:
        """Open a connection for reading an answer of any length: PostgreSQL's driver would have it in memory as a whole."""
        if self.dialect == "sqlite":
            with self.read() as connection:
                yield connection
            return
        # A cursor on the server lives in a transaction.
        with one_face(), self.engine.connect().execution_options(yield_per=STREAMED) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for reading, which waits for no writer. Raises StoreUnavailableError."""
        with one_face(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection


@lru_cache(maxsize=16)
def _database(url: str, namespace: str | None, _pid: int) -> Database:
    return Database(url, namespace)


# The cache alone would let threads that come at the same time open a pool each.
_opening = Lock()


def database(url: str, namespace: str | None = None) -> Database:
    """Return the database of this URL, or a namespace of it, opened once a process; a forked child opens its own."""
    with _opening:
        return _database(url, namespace, os.getpid())


def _renew_lock() -> None:
    # Where another thread held it at the fork, nobody in the child would ever let go of it.
    global _opening
    _opening = Lock()


os.register_at_fork(after_in_child=_renew_lock)


def parse_url(address: str) -> URL:
    """Return an address as SQLAlchemy has it, with the driver that comes with us where PostgreSQL's names none.

    Raises ValueError that says what is wrong with it.
    """
    try:
        url = make_url(address)
    except ArgumentError:
        raise ValueError("is not a database URL; use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME") from None
    except ValueError:
        raise ValueError("its port is not a number; write HOST:5432, and a / or @ of a password as %2F and %40") from None
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _engine(url: str, namespace: str | None) -> Engine:
    try:
        parsed = parse_url(url)
    except ValueError as error:
        raise _refused(url, str(error)) from None
    if parsed.drivername not in DRIVERS:
        raise _refused(url, f"{parsed.drivername} isn't supported; write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise _refused(url, "a database in memory is seen by one process only; name a file: sqlite:///FILE")
        file = Path(parsed.database)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(f"{type(error).__name__}: {error.strerror}: {file.parent}") from error
        if namespace:
            file = file.with_name(f"{file.stem}.{namespace}{file.suffix}")
            parsed = parsed.set(database=str(file))
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, **POOL)
        file_clock = _FileClock(file.parent)
        event.listen(engine, "do_connect", lambda *_: _make_private(file))
        event.listen(engine, "connect", lambda connection, _record: _prepare_sqlite(connection, file_clock))
        event.listen(engine, "begin", _begin_immediate)
        return engine
    try:
        arguments = {"options": f"-c search_path={SHADOW_SCHEMA}"} if namespace else {}
        return create_engine(parsed, connect_args=arguments, pool_pre_ping=True, **POOL)
    except ModuleNotFoundError as error:
        raise _refused(url, f"needs {error.name}; install knowledge-batch[postgres]") from None


def _make_private(file: Path) -> None:
    """Make a new database file for its owner alone: SQLite would go by the umask, and its other files go by this one.

    It is made under another name: where this process closes a database's file, it loses SQLite's locks on it.
    """
    if os.path.exists(file):
        return
    made = file.with_name(f".{file.name}.{uuid4().hex}")
    # What is wrong with the folder, SQLite says; a file that another one made meanwhile is as good.
    with suppress(OSError):
        os.close(os.open(made, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.link(made, file)
        finally:
            made.unlink()


def _refused(url: str, advice: str) -> InvalidInputError:
    # A URL may hold a password; up to the scheme it tells enough.
    return InvalidInputError([Problem("KNOWLEDGE_DATABASE_URL", url.partition("://")[0] + "://…", advice)])


class _FileClock:
    """The time of the file system that the database lies on, as a SQLite function.

    SQLite itself tells the time of the process that asks. The file system is one for all who share the database, and
    stamps what is written to it: that is the clock by which they compare their leases.
    """

    def __init__(self, folder: Path) -> None:
        # Nameless where the system can do that, and gone with the process.
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 -- open for as long as the database is
        self._stamped()

    def __call__(self) -> str:
        # As SQLAlchemy writes a moment.
        return datetime.fromtimestamp(self._stamped(), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def _stamped(self) -> float:
        # The same byte each time, so that a disk which is full keeps time as well.
        os.pwrite(self._file.fileno(), b".", 0)
        return os.fstat(self._file.fileno()).st_mtime


def _prepare_sqlite(connection: Any, file_clock: _FileClock) -> None:
    connection.create_function("clock_timestamp", 0, file_clock)
    # The driver must not open transactions of its own: ours begin with the write lock, see below.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enter_wal(cursor)
    # In WAL this survives a killed process; a power cut may lose the last commits, never the file.
    cursor.execute("PRAGMA synchronous=NORMAL")
    # Pages, 64 MB: whoever commits the next one copies all of them into the file, and every other writer waits for that.
    # Attempts don't let it come so far, see checkpoint.
    cursor.execute("PRAGMA wal_autocheckpoint=16000")
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
