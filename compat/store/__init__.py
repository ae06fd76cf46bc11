"""The truth in rows: claims, documents, attempts, events and results of batches, in SQLite or PostgreSQL."""

from collections.abc import Mapping

from sqlalchemy import select

from compat.contracts import utc_now
from compat.settings import Settings
from compat.store.claims import Claims
from compat.store.database import SHADOW, Database

# Under its own name it would hide the module that it comes from.
from compat.store.database import database as open_database
from compat.store.reading import Reader
from compat.store.record import BatchRecord, Claim
from compat.store.schema import Switch
from compat.store.sql import upsert

__all__ = ["BatchRecord", "Claim", "Store"]


class Store:
    """The batches of one database: who holds them, what is stored of them, and the switches.

    Claims and ends are ``compat.store.claims.Claims``, reads are ``compat.store.reading.Reader``; their methods are to be
    had here as well.
    """

    def __init__(self, database: Database, lease_seconds: float = 60.0) -> None:
        """``lease_seconds`` is how long a batch's holder may be silent before others may take the batch."""
        self.database = database
        self.lease_seconds = lease_seconds

        claims = Claims(database, lease_seconds)
        self.claim = claims.claim
        self.resume = claims.resume
        self.hand_over = claims.hand_over
        self.held_by = claims.held_by
        self.heartbeat = claims.heartbeat
        self.finish = claims.finish
        self.fail = claims.fail
        self.cancel = claims.cancel
        self.reconcile = claims.reconcile
        self.abandon = claims.abandon
        self.note_flow_run = claims.note_flow_run

        reader = Reader(database, lease_seconds)
        self.batch = reader.batch
        self.state = reader.state
        self.has_ended = reader.has_ended
        self.config = reader.config
        self.unfinished = reader.unfinished
        self.summaries = reader.summaries
        self.result = reader.result
        self.extractions = reader.extractions
        self.extracted = reader.extracted
        self.request = reader.request
        self.ontologies_hash = reader.ontologies_hash
        self.failures = reader.failures
        self.attempts = reader.attempts

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "Store":
        """Return the store that the environment names. Raises InvalidInputError for a setting or URL that can't be used."""
        settings = settings or Settings.load()
        return cls(open_database(settings.url), settings.lease_seconds)

    @classmethod
    def of_shadows(cls, settings: Settings | None = None) -> "Store":
        """Return the store of shadow runs: the same tables in their own namespace, where no old reader looks."""
        settings = settings or Settings.load()
        return cls(open_database(settings.url, SHADOW), settings.lease_seconds)

    def switches(self) -> Mapping[str, str]:
        """Return the stored switches by name: ``mode`` and ``demotion``, if they are set."""
        with self.database.read() as connection:
            return {row.name: row.value for row in connection.execute(select(Switch.name, Switch.value))}

    def set_switch(self, name: str, value: str | None) -> None:
        """Set a switch for every process, from the next batch on; None takes it away."""
        with self.database.write() as connection:
            if value is None:
                connection.execute(Switch.__table__.delete().where(Switch.name == name))  # type: ignore[attr-defined]
            else:
                upsert(connection, Switch, {"name": name, "value": value, "updated_at": utc_now()})
