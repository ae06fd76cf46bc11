"""What every table is made of: columns' types, and what the old service's tables share."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from compat.contracts import utc_now


class Utc(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which keeps no zone, gives it back with its zone all the same."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value as the database takes it."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value as it came in."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Plain(TypeDecorator[str]):
    """Text; an enum's value goes in, where psycopg would write its name."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the value as the database takes it."""
        return None if value is None else str(value)


class _Json(TypeDecorator[Any]):
    """A document in JSON, on PostgreSQL as JSONB. A missing one is SQL NULL, which old readers test for, not the text "null"."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's type."""
        if dialect.name != "postgresql":
            return dialect.type_descriptor(self.impl_instance)
        # Not with a variant: a sixth of what `status` takes is to load this dialect.
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=True))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Return the type of what a document is compared or indexed with."""
        return self.impl_instance.coerce_compared_value(op, value)


Json = _Json()


class Base(DeclarativeBase):
    """The base of all tables: which Python type is which column."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Plain,
        datetime: Utc,
        dict[str, Any]: Json,
        list[str]: Json,
        list[Any]: Json,
    }


class OldRow:
    """What every table of the old service has."""

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
