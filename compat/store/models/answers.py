"""A model's answers by content: written once, read by every batch; where many ask the same at once, one asks the model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from compat.store.database import Database
from compat.store.schema import ModelAnswer
from compat.store.sql import blocks, seconds_now

# How long a call may stay silent before another one may ask in its place; it is renewed long before. A holder whose process
# was killed is waited for at most so long by other batches, and not at all by a run that took its batch over.
HOLD_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What a model once answered, as JSON text, and what that took."""

    output: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Turn:
    """The right to ask for one answer. Whoever has it records what came of it, or gives it back.

    ``pause``: seconds for which the provider wants to be left alone, as far as it was asked about.
    """

    key: str
    token: str
    pause: float = 0.0


class Answers:
    """The answers in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, keys: Sequence[str], since: float = 0.0) -> dict[str, Answer]:
        """Return those of the keys that are answered, not before the moment ``since``."""
        found = {}
        with self._database.read() as connection:
            for some in blocks(keys, 500):
                query = select(ModelAnswer).where(ModelAnswer.key.in_(some), *_usable(since))
                for row in connection.execute(query):
                    found[row.key] = Answer(row.output, row.tokens_in, row.tokens_out)
        return found

    def renew(self, tokens: Sequence[str]) -> None:
        """Say that the calls behind these tokens are still being made."""
        with self._database.write() as connection:
            until = seconds_now(connection) + HOLD_SECONDS
            for some in blocks(tokens, 500):
                lock(connection, connection.execute(select(ModelAnswer.key).where(ModelAnswer.holder.in_(some))).scalars().all())
                connection.execute(update(ModelAnswer).where(ModelAnswer.holder.in_(some)).values(held_until=until))

    def give_back(self, turn: Turn) -> None:
        """Give up the right to ask."""
        mine = (ModelAnswer.key == turn.key, ModelAnswer.holder == turn.token)
        with self._database.write() as connection:
            connection.execute(update(ModelAnswer).where(*mine).values(holder=None, held_until=None))

    def count_unused_answers(self, moment: datetime) -> int:
        """Return how many answers weren't used since."""
        with self._database.read() as connection:
            return len(connection.execute(select(ModelAnswer.key).where(*_unused(moment))).all())

    def prune_answers(self, moment: datetime) -> int:
        """Delete the answers that weren't used since. Return how many."""
        with self._database.write() as connection:
            return int(connection.execute(delete(ModelAnswer).where(*_unused(moment))).rowcount)


def lock(connection: Connection, keys: Iterable[str]) -> None:
    """Lock these answers for the transaction, in one order, so that no two transactions wait for each other."""
    # SQLite has one lock, which every writer holds from its start.
    if connection.dialect.name == "postgresql":
        for some in blocks(sorted(keys), 500):
            query = select(ModelAnswer.key).where(ModelAnswer.key.in_(some)).order_by(ModelAnswer.key)
            connection.execute(query.with_for_update()).all()


def note_use(connection: Connection, keys: Iterable[str]) -> None:
    """Keep these answers from being pruned as unused."""
    now = seconds_now(connection)
    for some in blocks(sorted(keys), 500):
        lock(connection, some)
        connection.execute(update(ModelAnswer).where(ModelAnswer.key.in_(some)).values(used_at=now))


def _usable(since: float) -> tuple[ColumnElement[bool], ...]:
    return (ModelAnswer.output.is_not(None), ModelAnswer.answered_at >= since)


def _unused(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    seconds = moment.timestamp()
    return (ModelAnswer.used_at < seconds, or_(ModelAnswer.held_until.is_(None), ModelAnswer.held_until < seconds))
