"""What calls ask of the store and bring to it, of many calls in one transaction: a commit takes longer than what is in it."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row

from compat.store.database import Database
from compat.store.models.answers import HOLD_SECONDS, Answer, Turn, lock
from compat.store.models.ledger import Call, row_of
from compat.store.schema import ModelAnswer, ModelCall
from compat.store.schema.statements import Parameters, Statement, insert, insert_or_ignore, moment_for, update
from compat.store.sql import blocks, seconds_now


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


def _claim(connection: Connection, questions: Sequence[Question], now: float) -> list[str]:
    """Insert the keys that are new, each held by its question. Return the questions' tokens."""
    tokens = [uuid.uuid4().hex for _ in questions]
    rows = [
        (each.key, each.model, 0, 0, now, token, now + HOLD_SECONDS, each.batch_id, each.batch_holder)
        for each, token in zip(questions, tokens, strict=True)
    ]
    # In the order of the keys, as all who lock several rows do: two who wait for each other would wait for ever.
    _execute(connection, _CLAIM, sorted(rows, key=itemgetter(0)))
    return tokens


def _write(connection: Connection, made: Iterable[MadeCall], now: float) -> None:
    calls, kept, given_back = [], [], []
    moment = moment_for(connection.dialect.name)
    for each in made:
        row = row_of(each.call)
        calls.append(_CALL.parameters({**row, "created_at": moment(row["created_at"])}))
        if each.answer is None:
            given_back.append((None, None, each.turn.key, each.turn.token))
        else:
            # It is paid for, so it is kept even after losing the turn.
            answer = each.answer
            kept.append((answer.output, answer.tokens_in, answer.tokens_out, now, now, None, None, each.turn.key))
    _execute(connection, _CALL, calls)
    _execute(connection, _KEEP, kept)
    _execute(connection, _GIVE_BACK, given_back)


def _answers_and_turns(
    connection: Connection, questions: Sequence[Question], tokens: Sequence[str], now: float
) -> list[Answer | Turn | None]:
    if not questions:
        return []
    rows: dict[str, Row[Any]] = {}
    for keys in blocks({each.key for each in questions}, 500):
        rows |= {row.key: row for row in _select(connection, _ANSWERS, keys)}
    pauses = _pauses(connection, {each.limit_key for each in questions if each.limit_key}, now)
    found: list[Answer | Turn | None] = []
    taken: dict[str, Parameters] = {}
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
                taken[each.key] = (token, now + HOLD_SECONDS, each.batch_id, each.batch_holder, each.key)
    _execute(connection, _TAKE, list(taken.values()))
    return found


def _pauses(connection: Connection, keys: Iterable[str], now: float) -> dict[str, float]:
    limits = [row for some in blocks(keys, 500) for row in _select(connection, _LIMITS, some)]
    return {row.key: row.paused_until - now for row in limits if row.paused_until > now}


# Spelled for the driver: they are executed twice a call, and SQLAlchemy's own would take longer than what they do.
_CLAIM = insert_or_ignore(
    ModelAnswer, ("key", "model", "tokens_in", "tokens_out", "used_at", "holder", "held_until", "batch_id", "batch_holder")
)
_CALL = insert(ModelCall, tuple(column.name for column in ModelCall.__table__.columns))
_KEEP = update(ModelAnswer, ("output", "tokens_in", "tokens_out", "answered_at", "used_at", "holder", "held_until"), ("key",))
_GIVE_BACK = update(ModelAnswer, ("holder", "held_until"), ("key", "holder"))
_TAKE = update(ModelAnswer, ("holder", "held_until", "batch_id", "batch_holder"), ("key",))
_ANSWERS = "SELECT * FROM knowledge_model_answer WHERE key IN"
_LIMITS = "SELECT * FROM knowledge_model_limit WHERE key IN"


def _execute(connection: Connection, statement: Statement, rows: list[Parameters]) -> None:
    if rows:
        connection.exec_driver_sql(statement.for_driver(connection.dialect.name), rows)


def _select(connection: Connection, query: str, keys: Sequence[str]) -> Iterable[Row[Any]]:
    marks = ", ".join("?" * len(keys))
    statement = Statement(f"{query} ({marks})", ())
    return connection.exec_driver_sql(statement.for_driver(connection.dialect.name), tuple(keys))
