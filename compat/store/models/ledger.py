"""The ledger of model calls: what was asked for whom, what came of it, and what it took."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, exists, func, insert, select
from sqlalchemy.orm import aliased

from compat.contracts import utc_now
from compat.ids import new_id
from compat.store.database import Database
from compat.store.models.answers import note_use
from compat.store.schema import ModelCall

CallOutcome = Literal["answered", "partial", "refused", "failed", "stored"]

# How the error of a call begins that was cut off because its batch was to end.
STOPPED = "stopped: "

_MOST_REPLY = 4000


@dataclass(frozen=True)
class Call:
    """A call to a model, or an answer that the store gave in its place (``stored``); see ``schema.ModelCall``."""

    batch_id: str
    document_id: str
    generation: int
    attempt: int
    chunk: str
    stage: str
    model: str
    answer_key: str
    outcome: CallOutcome
    fresh: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    duration_ms: int = 0
    error: str | None = None
    reply: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class CallTotals:
    """What a batch's calls came to. Tokens are of calls that were made; ``tokens_cached`` are part of ``tokens_in``.

    ``paid_twice`` counts calls whose answer the store had already, or got from two; those that ``--fresh`` asked for aside.
    """

    made: int = 0
    stored: int = 0
    refused: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    paid_twice: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in and out together."""
        return self.tokens_in + self.tokens_out

    def cost(self, price_in: float | None, price_out: float | None) -> float | None:
        """Return the tokens' cost at these prices per million, or None without prices; an upper bound."""
        if price_in is None or price_out is None:
            return None
        return (self.tokens_in * price_in + self.tokens_out * price_out) / 1_000_000


@dataclass(frozen=True)
class Repeated:
    """A chunk that was asked about several times where once was due."""

    batch_id: str
    document_id: str
    generation: int
    attempt: int
    chunk: str
    stage: str
    calls: int


class Ledger:
    """The calls in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_stored(self, calls: Sequence[Call]) -> None:
        """Write that these answers came from the store."""
        if calls:
            with self._database.write() as connection:
                connection.execute(insert(ModelCall), [row_of(call) for call in calls])
                note_use(connection, dict.fromkeys(call.answer_key for call in calls))

    def tokens_spent(self, batch_id: str) -> int:
        """Tokens in and out of a batch's calls so far."""
        spent = func.coalesce(func.sum(ModelCall.tokens_in + ModelCall.tokens_out), 0)
        with self._database.read() as connection:
            return int(connection.execute(select(spent).where(ModelCall.batch_id == batch_id, _MADE)).scalar_one())

    def calls(self, batch_id: str) -> Iterator[Call]:
        """Yield a batch's calls in the order that they were written."""
        query = select(ModelCall).where(ModelCall.batch_id == batch_id).order_by(ModelCall.created_at, ModelCall.id)
        with self._database.read() as connection:
            for row in connection.execute(query):
                yield Call(**{name: value for name, value in row._mapping.items() if name != "id"})

    def totals(self, batch_id: str) -> CallTotals:
        """Return the totals of a batch's calls; zeros if it made none."""
        earlier = aliased(ModelCall)
        # Of two rows of one answer the later one was paid twice; the id settles which of two of one moment is later.
        before = (earlier.created_at < ModelCall.created_at) | (
            (earlier.created_at == ModelCall.created_at) & (earlier.id < ModelCall.id)
        )
        paid = exists().where(earlier.answer_key == ModelCall.answer_key, earlier.outcome == "answered", before)
        again = (ModelCall.outcome == "answered") & ModelCall.fresh.is_(False) & paid
        query = select(
            _count(_MADE),
            _count(ModelCall.outcome == "stored"),
            _count(ModelCall.outcome.in_(("refused", "partial"))),
            _count(ModelCall.outcome == "failed"),
            *(
                func.coalesce(func.sum(case((_MADE, column), else_=0)), 0)
                for column in (ModelCall.tokens_in, ModelCall.tokens_out, ModelCall.tokens_cached)
            ),
            _count(again),
        ).where(ModelCall.batch_id == batch_id)
        with self._database.read() as connection:
            return CallTotals(*map(int, connection.execute(query).one()))

    def repeated(self, batch_id: str | None = None) -> list[Repeated]:
        """Return the chunks that were asked about more than once at one stage of one attempt; calls that a stop cut off aside."""
        place = (
            ModelCall.batch_id,
            ModelCall.document_id,
            ModelCall.generation,
            ModelCall.attempt,
            ModelCall.chunk,
            ModelCall.stage,
        )
        stopped = func.coalesce(ModelCall.error, "").like(f"{STOPPED}%")
        query = select(*place, func.count()).where(_MADE, ~stopped).group_by(*place).having(func.count() > 1).order_by(*place)
        if batch_id is not None:
            query = query.where(ModelCall.batch_id == batch_id)
        with self._database.read() as connection:
            return [Repeated(*row) for row in connection.execute(query)]

    def count_calls_before(self, moment: datetime) -> int:
        """Return how many calls were made before."""
        with self._database.read() as connection:
            query = select(func.count()).select_from(ModelCall).where(ModelCall.created_at < moment)
            return int(connection.execute(query).scalar_one())

    def prune_calls(self, moment: datetime) -> int:
        """Delete the calls that were made before. Returns how many."""
        with self._database.write() as connection:
            return int(connection.execute(delete(ModelCall).where(ModelCall.created_at < moment)).rowcount)


_MADE = ModelCall.outcome != "stored"


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def row_of(call: Call) -> dict[str, Any]:
    """Return the row of a call, with what a database can store of its texts."""
    kept = replace(call, error=_storable(call.error), reply=_storable(call.reply), created_at=call.created_at or utc_now())
    return {"id": new_id("knowledge_model_call"), **kept.__dict__}


def _storable(text: str | None) -> str | None:
    """Return a text without what a database can't store, which a model may have written."""
    if text is None:
        return None
    return text[:_MOST_REPLY].replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
