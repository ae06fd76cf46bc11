"""What calls ask of the store and bring to it, of many calls in one transaction: a commit takes longer than what is in it."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from compat.store.database import Database
from compat.store.models.answers import HOLD_SECONDS, Answer, Turn, lock
from compat.store.models.ledger import Call, row_of
from compat.store.schema import ModelAnswer, ModelCall, ModelLimit
from compat.store.sql import blocks, insert_or_ignore, seconds_now


@dataclass(frozen=True)
class Question:
    """Asks for an answer, or for the right to ask the model. Answers from before ``since`` don't count.

    ``limit_key`` names the provider's limits; a turn says how long it wants to be left alone.
    """

    key: str
    model: str
    batch_id: str
    batch_holder: str
    since: float = 0.0
    limit_key: str | None = None


@dataclass(frozen=True)
class MadeCall:
    """A call that was made with a turn, and its answer if that is to be kept."""

    call: Call
    turn: Turn
    answer: Answer | None = None


class Exchange:
    """The questions and calls of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(self, items: Sequence[Question | MadeCall]) -> list[Answer | Turn | None]:
        """Write calls, and return what questions get, item by item, in one transaction.

        A question gets the answer, or the right to ask for it; None if another one is asking, in which case try again later.
        A run that holds the batch takes over at once from one that held it before, which is dead or has lost it. A call gets
        None; writing it gives up its turn.
        """
        questions = [each for each in items if isinstance(each, Question)]
        made = [each for each in items if isinstance(each, MadeCall)]
        with self._database.write() as connection:
            now = seconds_now(connection)
            tokens = _claim(connection, questions, now)
            lock(connection, {each.key for each in questions} | {each.turn.key for each in made})
            _write(connection, made, now)
            found = iter(_answers_and_turns(connection, questions, tokens, now))
            return [next(found) if isinstance(each, Question) else None for each in items]

    def ask(self, question: Question) -> Answer | Turn | None:
        """As ``exchange`` for one question."""
        return self.exchange([question])[0]

    def record(self, call: Call, turn: Turn, answer: Answer | None = None) -> None:
        """As ``exchange`` for one call."""
        self.exchange([MadeCall(call, turn, answer)])


def _hold(question: Question, token: str, now: float) -> dict[str, object]:
    batch = {"batch_id": question.batch_id, "batch_holder": question.batch_holder}
    return {"holder": token, "held_until": now + HOLD_SECONDS, **batch}


def _claim(connection: Connection, questions: Sequence[Question], now: float) -> list[str]:
    """Insert the keys that are new, each held by its question. Return the questions' tokens."""
    tokens = [uuid.uuid4().hex for _ in questions]
    rows = [
        {"key": each.key, "model": each.model, "used_at": now, **_hold(each, token, now)}
        for each, token in zip(questions, tokens, strict=True)
    ]
    # In the order of the keys, as all who lock several rows do: two who wait for each other would wait for ever.
    insert_or_ignore(connection, ModelAnswer, *sorted(rows, key=lambda row: str(row["key"])))
    return tokens


def _write(connection: Connection, made: Iterable[MadeCall], now: float) -> None:
    rows, kept, given_back = [], [], []
    for each in made:
        rows.append(row_of(each.call))
        if each.answer is None:
            given_back.append({"of_key": each.turn.key, "of_holder": each.turn.token})
        else:
            # It is paid for, so it is kept even after losing the turn.
            kept.append({"of_key": each.turn.key, **each.answer.__dict__, "answered_at": now, "used_at": now})
    if rows:
        connection.execute(insert(ModelCall), rows)
    if kept:
        connection.execute(_KEEP, kept)
    if given_back:
        connection.execute(_GIVE_BACK, given_back)


def _answers_and_turns(
    connection: Connection, questions: Sequence[Question], tokens: Sequence[str], now: float
) -> list[Answer | Turn | None]:
    if not questions:
        return []
    rows: dict[str, Row[Any]] = {}
    for keys in blocks({each.key for each in questions}, 500):
        rows |= {row.key: row for row in connection.execute(select(ModelAnswer).where(ModelAnswer.key.in_(keys)))}
    pauses = _pauses(connection, {each.limit_key for each in questions if each.limit_key}, now)
    found: list[Answer | Turn | None] = []
    taken: dict[str, dict[str, object]] = {}
    for each, token in zip(questions, tokens, strict=True):
        row = rows.get(each.key)
        if row is None or each.key in taken:
            # Pruned just now; or taken by a question before this one.
            found.append(None)
        elif row.output is not None and row.answered_at >= each.since:
            found.append(Answer(row.output, row.tokens_in, row.tokens_out))
        else:
            inherited = row.batch_id == each.batch_id and row.batch_holder != each.batch_holder
            is_held = row.holder not in (None, token) and row.held_until > now and not inherited
            found.append(None if is_held else Turn(each.key, token, pauses.get(each.limit_key or "", 0.0)))
            if not is_held and row.holder != token:
                taken[each.key] = {"of_key": each.key, **_hold(each, token, now)}
    if taken:
        connection.execute(_TAKE, list(taken.values()))
    return found


def _pauses(connection: Connection, keys: Iterable[str], now: float) -> dict[str, float]:
    query = select(ModelLimit.key, ModelLimit.paused_until).where(ModelLimit.key.in_(list(keys)), ModelLimit.paused_until > now)
    return {row.key: row.paused_until - now for row in connection.execute(query)}


_OF_KEY = update(ModelAnswer).where(ModelAnswer.key == bindparam("of_key"))
_KEEP = _OF_KEY.values(
    **{name: bindparam(name) for name in ("output", "tokens_in", "tokens_out", "answered_at", "used_at")},
    holder=None,
    held_until=None,
)
_GIVE_BACK = _OF_KEY.where(ModelAnswer.holder == bindparam("of_holder")).values(holder=None, held_until=None)
_TAKE = _OF_KEY.values(**{name: bindparam(name) for name in ("holder", "held_until", "batch_id", "batch_holder")})
