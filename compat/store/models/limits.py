"""A provider's limits as rows, so that every process that shares the store keeps to them together."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from compat.store.database import Database
from compat.store.schema import ModelLimit, ModelTurn
from compat.store.sql import insert_or_ignore, seconds_now

# How far a limit may be run ahead of: a second's worth lets calls be late without losing their place, and no burst follows.
AHEAD_SECONDS = 1.0
# How long a batch that asked for a turn counts as waiting; it asks again sooner than that.
WAITS_SECONDS = 2.0
# The longest sleep between two looks: a pause may begin or end, and another batch may leave.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Limits:
    """The limits of one provider's key: requests and tokens a minute, None without a limit."""

    key: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


class Limiter:
    """The limits in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, limits: Limits, batch_id: str, tokens: int) -> float:
        """Take one request of so many tokens. Return 0 if it may go at once, else the seconds until the next try.

        Requests and tokens leak at their rate a minute. Of several batches that wait, the one whose last turn is longest
        ago goes first, so a batch of a thousand chunks doesn't hold up one of three.
        """
        if not limits.any:
            return self.paused(limits)
        with self._database.write() as connection:
            insert_or_ignore(connection, ModelLimit, {"key": limits.key})
            insert_or_ignore(connection, ModelTurn, {"limit_key": limits.key, "batch_id": batch_id})
            row = connection.execute(select(ModelLimit).where(ModelLimit.key == limits.key).with_for_update()).one()
            now = seconds_now(connection)
            wait = max(
                row.paused_until - now,
                row.next_request_at - AHEAD_SECONDS - now if limits.requests_per_minute else 0.0,
                row.next_tokens_at - AHEAD_SECONDS - now if limits.tokens_per_minute else 0.0,
            )
            own = (ModelTurn.limit_key == limits.key, ModelTurn.batch_id == batch_id)
            if wait <= 0 and self._is_its_turn(connection, limits.key, batch_id, now):
                connection.execute(update(ModelTurn).where(*own).values(granted_at=now, waits_until=0.0))
                taken = {}
                if limits.requests_per_minute:
                    taken["next_request_at"] = max(row.next_request_at, now) + 60 / limits.requests_per_minute
                if limits.tokens_per_minute:
                    taken["next_tokens_at"] = max(row.next_tokens_at, now) + 60 * tokens / limits.tokens_per_minute
                connection.execute(update(ModelLimit).where(ModelLimit.key == limits.key).values(**taken))
                return 0.0
            connection.execute(update(ModelTurn).where(*own).values(waits_until=now + WAITS_SECONDS))
        return float(min(max(wait, 0.02), LOOK_SECONDS))

    def _is_its_turn(self, connection: Connection, key: str, batch_id: str, now: float) -> bool:
        waiting = select(ModelTurn.batch_id).where(
            ModelTurn.limit_key == key, (ModelTurn.waits_until > now) | (ModelTurn.batch_id == batch_id)
        )
        first = waiting.order_by(ModelTurn.granted_at, ModelTurn.batch_id).limit(1)
        return bool(connection.execute(first).scalar() == batch_id)

    def paused(self, limits: Limits) -> float:
        """Seconds until the provider accepts requests again, at most the time to the next look; 0 if it does now."""
        with self._database.read() as connection:
            until = connection.execute(select(ModelLimit.paused_until).where(ModelLimit.key == limits.key)).scalar()
            return 0.0 if until is None else min(max(until - seconds_now(connection), 0.0), LOOK_SECONDS)

    def pause(self, limits: Limits, seconds: float) -> None:
        """Hold back every request until then, as the provider asked."""
        with self._database.write() as connection:
            insert_or_ignore(connection, ModelLimit, {"key": limits.key})
            until = seconds_now(connection) + seconds
            later = (ModelLimit.key == limits.key, ModelLimit.paused_until < until)
            connection.execute(update(ModelLimit).where(*later).values(paused_until=until))

    def forget_turns(self, moment: datetime) -> None:
        """Delete what is known of batches whose last turn was before."""
        with self._database.write() as connection:
            connection.execute(
                delete(ModelTurn).where(ModelTurn.granted_at < moment.timestamp(), ModelTurn.waits_until < moment.timestamp())
            )

    def correct(self, limits: Limits, tokens: int) -> None:
        """Add the tokens that a request used beyond its reservation; negative if it used fewer."""
        if limits.tokens_per_minute and tokens:
            moved = ModelLimit.next_tokens_at + 60 * tokens / limits.tokens_per_minute
            with self._database.write() as connection:
                connection.execute(update(ModelLimit).where(ModelLimit.key == limits.key).values(next_tokens_at=moved))
