"""Documents in databases: the rows of a query."""

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from compat.errors import InvalidInputError
from flows.sources.allowed import ForbiddenError
from flows.sources.documents import Reading, Row, invalid
from flows.sources.places import Address
from flows.sources.tables import ROWS, Columns, check_columns

DATABASE = re.compile(r"(sqlite|postgres(ql)?)(\+\w+)?://")
# What a query may do in SQLite. PRAGMA, ATTACH and VACUUM INTO write files beside the one that is opened for reading.
_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


def _only_reading(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def read_query(address: Address, query: str, columns: Columns, reading: Reading) -> Iterator[Row]:
    """Yield the rows of a query as documents. The database is never changed."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from compat.store.database import parse_url

    if not query:
        raise invalid("query", query, "a database needs a query whose rows are the documents; give --query SELECT …")
    try:
        url = parse_url(address.value)
        if address.allowed is not None:
            address.allowed.check_database(address.given, address.value)
        arguments: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite" and not url.get_dialect().is_async:
            if not os.path.isfile(url.database or ""):
                # SQLite would create it, empty.
                raise invalid("SOURCE", address.shown, "no such database file; correct the URL: sqlite:///FILE")
            file = f"file:{quote(str(Path(url.database or '').absolute()))}?mode=ro"
            arguments["creator"] = lambda: sqlite3.connect(file, uri=True)
        engine = create_engine(url, poolclass=NullPool, **arguments)
    except InvalidInputError:
        raise
    except ForbiddenError as error:
        raise invalid("SOURCE", address.shown, str(error)) from None
    except ModuleNotFoundError as error:
        raise invalid("SOURCE", address.shown, f"needs the package {error.name}; install it where the batch runs") from None
    except (ValueError, NoSuchModuleError) as error:
        reason = str(error) if isinstance(error, ValueError) else "isn't the URL of a database that SQLAlchemy knows here"
        raise invalid("SOURCE", address.shown, f"{reason}; a query needs a database's URL in SQLAlchemy's form") from None
    if engine.dialect.is_async:
        advice = f"{url.drivername} is a driver for event loops; write {url.get_backend_name()}:// without a driver"
        raise invalid("SOURCE", address.shown, advice)
    try:
        # Never committed, and writes that would take effect all the same (SQLite's tables, PostgreSQL's sequences) are refused.
        with engine.connect().execution_options(yield_per=ROWS, postgresql_readonly=True) as connection:
            if engine.dialect.name == "sqlite":
                driver: Any = connection.connection.driver_connection
                driver.set_authorizer(_only_reading)
            # SQLAlchemy reads a colon as a parameter; here it belongs to a text or a cast.
            result = connection.execute(text(query.replace(":", r"\:")))
            if not result.returns_rows:
                raise invalid("query", query, "returns no rows; use a SELECT")
            check_columns("query", list(result.keys()), columns, reading)
            for number, row in enumerate(result.mappings(), start=1):
                yield Row(f"query row {number}", row[columns.document_id], row[columns.text])
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if url.password:
            reason = reason.replace(url.password, "***")
        raise invalid(
            "query", query, f"failed at {address.shown} ({reason}); correct it, or check that the database is running"
        ) from None
