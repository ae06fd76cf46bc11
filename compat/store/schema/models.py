"""The tables of the language models: answers, calls, limits and turns."""

from datetime import datetime

from sqlalchemy import Double, Index
from sqlalchemy.orm import Mapped, mapped_column

from compat.contracts import utc_now
from compat.store.schema.base import Base


class ModelAnswer(Base):
    """A model's answer under the hash of everything that it depends on; ``output`` is null while it is asked for.

    ``holder`` is the token of the call that asks, and holds the right to until ``held_until`` (seconds since 1970 by the
    database's clock). ``output`` is JSON as text: what a model writes may hold a NUL, which PostgreSQL's own JSON can't.
    """

    __tablename__ = "knowledge_model_answer"
    key: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    output: Mapped[str | None]
    tokens_in: Mapped[int] = mapped_column(default=0)
    tokens_out: Mapped[int] = mapped_column(default=0)
    answered_at: Mapped[float | None] = mapped_column(Double)
    used_at: Mapped[float] = mapped_column(Double, index=True)
    holder: Mapped[str | None]
    held_until: Mapped[float | None] = mapped_column(Double)
    batch_id: Mapped[str | None]
    batch_holder: Mapped[str | None]


class ModelCall(Base):
    """The ledger: a row for each call to a model, and for each answer that the store gave in its place.

    ``outcome``: ``answered``; ``partial`` where only a part of the answer was of use; ``refused`` where none was;
    ``failed`` where there was no answer; ``stored`` where the store had it. ``reply`` is what the model wrote where that
    isn't kept as an answer.
    """

    __tablename__ = "knowledge_model_call"
    id: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str]
    document_id: Mapped[str]
    generation: Mapped[int]
    attempt: Mapped[int]
    chunk: Mapped[str]
    stage: Mapped[str]
    model: Mapped[str]
    answer_key: Mapped[str] = mapped_column(index=True)
    outcome: Mapped[str]
    fresh: Mapped[bool] = mapped_column(default=False)
    tokens_in: Mapped[int] = mapped_column(default=0)
    tokens_out: Mapped[int] = mapped_column(default=0)
    tokens_cached: Mapped[int] = mapped_column(default=0)
    duration_ms: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    reply: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    __table_args__ = (Index("ix_knowledge_model_call_batch", "batch_id", "document_id"),)


class ModelLimit(Base):
    """How far a provider's limits are used up, by provider and key; moments are seconds since 1970 by the database's clock.

    ``next_request_at`` and ``next_tokens_at`` are when the limit would be free again if nobody asked until then.
    """

    __tablename__ = "knowledge_model_limit"
    key: Mapped[str] = mapped_column(primary_key=True)
    next_request_at: Mapped[float] = mapped_column(Double, default=0.0)
    next_tokens_at: Mapped[float] = mapped_column(Double, default=0.0)
    paused_until: Mapped[float] = mapped_column(Double, default=0.0)


class ModelTurn(Base):
    """A batch at a provider's limit: when it last got a request through, and until when it counts as waiting for one."""

    __tablename__ = "knowledge_model_turn"
    limit_key: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    granted_at: Mapped[float] = mapped_column(Double, default=0.0)
    waits_until: Mapped[float] = mapped_column(Double, default=0.0)
