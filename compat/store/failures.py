"""Database failures: which error of ours each becomes, its first cause in one line, and optional writes."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from compat.errors import BatchInfrastructureError, StoreUnavailableError, UnkeepableDataError
from compat.keepable import text_of

log = logging.getLogger("knowledge_batch")

# Of SQLite's codes those that are about the statement or its values; after any other one the file can't be relied on.
STATEMENT_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
# PostgreSQL's class of values that are larger than it can hold; the driver counts it among the operational errors.
TOO_LARGE = "54"
# What drivers raise of a value themselves, before the database sees it.
DRIVERS_OWN = (OverflowError, UnicodeError)
# Characters of a reason.
LONGEST_REASON = 300


@contextmanager
def one_face() -> Iterator[None]:
    """Turn what a database or its driver raises into StoreUnavailableError, or UnkeepableDataError where it refuses a value."""
    try:
        yield
    except (SQLAlchemyError, *DRIVERS_OWN) as error:
        kind = UnkeepableDataError if is_refusal(error) else StoreUnavailableError
        raise kind(reason(error)) from error


@contextmanager
def infrastructure(batch_id: str, operation: str, hint: str | None = None) -> Iterator[None]:
    """Turn a failing database into BatchInfrastructureError; what was begun is rolled back. ``hint``: what to do next."""
    try:
        yield
    except (StoreUnavailableError, UnkeepableDataError) as error:
        raise BatchInfrastructureError(batch_id, operation, error.reason, hint) from error


@contextmanager
def best_effort(connection: Connection, what: str) -> Iterator[None]:
    """Write something optional: if the database refuses it, that is logged and the transaction goes on.

    A database that is gone is no refusal: that is raised, since the transaction can't go on either.
    """
    try:
        with connection.begin_nested():
            yield
    except SQLAlchemyError as error:
        if is_outage(error):
            raise
        log.exception("%s was not stored", what)


def is_outage(error: BaseException) -> bool:
    """Return whether the database, or the connection to it, is gone or broken, whatever was asked of it."""
    cause = first_cause(error)
    if not isinstance(cause, DBAPIError):
        # Of the rest, a value that could not be sent is the statement's; a pool without a free connection is an outage.
        return isinstance(cause, SQLAlchemyError) and not isinstance(cause, StatementError)
    if cause.connection_invalidated:
        return True
    if isinstance(cause.orig, sqlite3.Error):
        # The low byte of an extended code is the code itself. Python's own errors of the driver bear none.
        code = getattr(cause.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return code & 0xFF not in STATEMENT_CODES
    state = getattr(cause.orig, "sqlstate", None)
    if state is None:
        # PostgreSQL did not say it: the connection was not made, or is gone. A value that the driver refuses is a DataError.
        return type(cause).__name__ in ("OperationalError", "InterfaceError")
    return type(cause).__name__ in ("OperationalError", "InternalError") and not state.startswith(TOO_LARGE)


def is_refusal(error: BaseException) -> bool:
    """Return whether a database that works can't keep a value: another value would have been kept."""
    if is_outage(error):
        return False
    cause = first_cause(error)
    if not isinstance(cause, DBAPIError):
        return isinstance(cause, (StatementError, *DRIVERS_OWN))
    too_large = (getattr(cause.orig, "sqlstate", None) or "").startswith(TOO_LARGE)
    return too_large or isinstance(cause, DataError | IntegrityError)


def first_cause(error: BaseException) -> BaseException:
    """Return the database's first error of a chain: after it, rolling back fails as well and says less."""
    chain = [error]
    while (before := chain[-1].__context__) is not None:
        chain.append(before)
    # A driver's own before the library's: a pool that finds its connections dead says so by an error without a text.
    return next(
        (each for kind in (DBAPIError, SQLAlchemyError) for each in reversed(chain) if isinstance(each, kind)),
        error,
    )


def reason(error: BaseException) -> str:
    """Return the first cause in one line, without the statement and its values."""
    cause = first_cause(error)
    own = (cause.orig if isinstance(cause, StatementError) else None) or cause
    text = getattr(getattr(own, "diag", None), "message_primary", None) or text_of(own)
    line = next((line.strip() for line in text_of(text).splitlines() if line.strip()), "")
    if len(line) > LONGEST_REASON:
        line = line[: LONGEST_REASON - 1] + "…"
    return f"{type(cause).__name__}: {line}" if line else type(cause).__name__
