"""A model's answers by content: written once, read by every batch; of many who ask the same at once, one does."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from compat.store.database import Database
from compat.store.schema import ModelAnswer
from compat.store.sql import blocks, insert_if_new, seconds_now

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
    """The right to ask for one answer. Whoever has it records what came of it, or gives it back."""

    key: str
    token: str


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

    def ask(self, key: str, model: str, batch_id: str, batch_holder: str, since: float = 0.0) -> Answer | Turn | None:
        """Return the answer, or the right to ask for it; None if another one is asking, in which case try again later.

        A run that holds the batch takes over at once from one that held it before, which is dead or has lost it.
        """
        token = uuid.uuid4().hex
        with self._database.write() as connection:
            now = seconds_now(connection)
            held = {"holder": token, "held_until": now + HOLD_SECONDS, "batch_id": batch_id, "batch_holder": batch_holder}
            query = select(ModelAnswer).where(ModelAnswer.key == key).with_for_update()
            row = connection.execute(query).first()
            if row is None:
                if insert_if_new(connection, ModelAnswer, {"key": key, "model": model, "used_at": now, **held}):
                    return Turn(key, token)
                # Another process was faster.
                row = connection.execute(query).one()
            if row.output is not None and row.answered_at >= since:
                return Answer(row.output, row.tokens_in, row.tokens_out)
            inherited = row.batch_id == batch_id and row.batch_holder != batch_holder
            if row.holder is not None and row.held_until > now and not inherited:
                return None
            connection.execute(update(ModelAnswer).where(ModelAnswer.key == key).values(**held))
        return Turn(key, token)

    def renew(self, tokens: Sequence[str]) -> None:
        """Say that the calls behind these tokens are still being made."""
        with self._database.write() as connection:
            until = seconds_now(connection) + HOLD_SECONDS
            for some in blocks(tokens, 500):
                connection.execute(update(ModelAnswer).where(ModelAnswer.holder.in_(some)).values(held_until=until))

    def give_back(self, turn: Turn) -> None:
        """Give up the right to ask."""
        with self._database.write() as connection:
            give_back(connection, turn)

    def count_unused_answers(self, moment: datetime) -> int:
        """Return how many answers weren't used since."""
        with self._database.read() as connection:
            return len(connection.execute(select(ModelAnswer.key).where(*_unused(moment))).all())

    def prune_answers(self, moment: datetime) -> int:
        """Delete the answers that weren't used since. Return how many."""
        with self._database.write() as connection:
            return int(connection.execute(delete(ModelAnswer).where(*_unused(moment))).rowcount)


def keep(connection: Connection, turn: Turn, answer: Answer) -> None:
    """Write an answer, in the caller's transaction. It is paid for, so it is kept even after losing the turn."""
    now = seconds_now(connection)
    values = {"output": answer.output, "tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out}
    connection.execute(
        update(ModelAnswer)
        .where(ModelAnswer.key == turn.key)
        .values(**values, answered_at=now, used_at=now, holder=None, held_until=None)
    )


def give_back(connection: Connection, turn: Turn) -> None:
    """As ``Answers.give_back``, in the caller's transaction."""
    mine = (ModelAnswer.key == turn.key, ModelAnswer.holder == turn.token)
    connection.execute(update(ModelAnswer).where(*mine).values(holder=None, held_until=None))


def note_use(connection: Connection, keys: Iterable[str]) -> None:
    """Keep these answers from being pruned as unused."""
    now = seconds_now(connection)
    for some in blocks(keys, 500):
        connection.execute(update(ModelAnswer).where(ModelAnswer.key.in_(some)).values(used_at=now))


def _usable(since: float) -> tuple[ColumnElement[bool], ...]:
    return (ModelAnswer.output.is_not(None), ModelAnswer.answered_at >= since)


def _unused(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    seconds = moment.timestamp()
    return (ModelAnswer.used_at < seconds, or_(ModelAnswer.held_until.is_(None), ModelAnswer.held_until < seconds))
