"""Statements for the driver itself, each spelled once from its table: what is written at every attempt pays for no compiling."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from compat.store.schema.base import Base

Parameters = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Statement:
    """SQL that both databases understand, and the names of its parameters in their order.

    Marks are SQLite's question marks; ``for_driver`` gives those of the driver at hand.
    """

    sql: str
    names: tuple[str, ...]

    def for_driver(self, dialect: str) -> str:
        """Return the SQL with the driver's own marks."""
        return self.sql.replace("?", "%s") if dialect == "postgresql" else self.sql

    def parameters(self, row: Mapping[str, Any]) -> Parameters:
        """Return a row's values in the order of the marks."""
        return itemgetter(*self.names)(row)  # type: ignore[no-any-return]


def insert(table: type[Base], names: Sequence[str], then: str = "") -> Statement:
    """Return an insert; ``then`` is what follows the values, such as what to do about a key that is taken."""
    columns = ", ".join(table.__table__.c[name].name for name in names)
    marks = ", ".join("?" * len(names))
    return Statement(f"INSERT INTO {table.__tablename__} ({columns}) VALUES ({marks}) {then}".rstrip(), tuple(names))  # noqa: S608 -- names of ours


def insert_or_ignore(table: type[Base], names: Sequence[str]) -> Statement:
    """Return an insert that leaves a row alone whose keys are taken."""
    return insert(table, names, "ON CONFLICT DO NOTHING")


def upsert(table: type[Base], names: Sequence[str], keep: Iterable[str]) -> Statement:
    """Return an insert that overwrites the row with the same primary key, except for its columns ``keep``."""
    keys = [column.name for column in table.__table__.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys and name not in keep)
    return insert(table, names, f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}")


def update(table: type[Base], names: Sequence[str], where: Sequence[str], and_where: str = "") -> Statement:
    """Return an update of ``names`` where ``where`` have given values; ``and_where`` is a further condition."""
    assigned = ", ".join(f"{table.__table__.c[name].name} = ?" for name in names)
    conditions = " AND ".join([*(f"{table.__table__.c[name].name} = ?" for name in where), *filter(None, [and_where])])
    return Statement(f"UPDATE {table.__tablename__} SET {assigned} WHERE {conditions}", (*names, *where))  # noqa: S608 -- names of ours


def as_json(value: object) -> str:
    """Return a value as the text that a column of JSON is given."""
    return json.dumps(value)


def moment_for(dialect: str) -> Callable[[datetime], Any]:
    """Return what turns a moment into what the driver takes: SQLite keeps it as text, in SQLAlchemy's form."""
    return _as_text if dialect == "sqlite" else _unchanged


def _as_text(moment: datetime) -> str:
    # Without the zone, which is at the end.
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def _unchanged(moment: datetime) -> datetime:
    return moment
