"""The tables: four that old readers know (CONTRACT 8), and ours beside them."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Double, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

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


# none_as_null: a missing document is SQL NULL, which old readers test for, not the JSON text "null".
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


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


class WorkflowExecution(OldRow, Base):
    """A batch (``batch_extraction``) or one of its documents (``extraction``)."""

    __tablename__ = "knowledge_workflow_execution"
    workflow_type: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending", index=True)
    input: Mapped[dict[str, Any] | None]
    output: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    last_activity_name: Mapped[str | None]
    retry_count: Mapped[int] = mapped_column(default=0)


Index("ix_knowledge_workflow_execution_type_status", WorkflowExecution.workflow_type, WorkflowExecution.status)
# What old readers ask: workflow_type, then input->>'batchId', newest first.
Index(
    "ix_knowledge_workflow_execution_batch",
    WorkflowExecution.workflow_type,
    text("(input->>'batchId')"),
    WorkflowExecution.created_at,
)


class WorkflowActivity(OldRow, Base):
    """One attempt at one document."""

    __tablename__ = "knowledge_workflow_activity"
    execution_id: Mapped[str] = mapped_column(index=True)
    activity_name: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending", index=True)
    input: Mapped[dict[str, Any] | None]
    output: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=1)
    duration_ms: Mapped[int | None]


Index("ix_knowledge_workflow_activity_execution_name", WorkflowActivity.execution_id, WorkflowActivity.activity_name)


class BatchExecution(OldRow, Base):
    """A batch with its counts, under the batch id itself."""

    __tablename__ = "knowledge_batch_execution"
    ontology_id: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending", index=True)
    document_ids: Mapped[list[str]]
    total_documents: Mapped[int]
    completed_documents: Mapped[int] = mapped_column(default=0)
    failed_documents: Mapped[int] = mapped_column(default=0)
    entity_count: Mapped[int] = mapped_column(default=0)
    relation_count: Mapped[int] = mapped_column(default=0)
    concurrency: Mapped[int]
    failure_policy: Mapped[str]
    max_retries: Mapped[int]
    enable_entity_resolution: Mapped[bool]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    error: Mapped[str | None]
    config: Mapped[dict[str, Any]]


class MentionRecord(OldRow, Base):
    """A place in a document that names an entity; ``resolved_entity_id`` is null until the batch is resolved."""

    __tablename__ = "knowledge_mention_record"
    extraction_id: Mapped[str] = mapped_column(index=True)
    document_id: Mapped[str]
    chunk_index: Mapped[int]
    raw_text: Mapped[str]
    mention_type: Mapped[str | None]
    confidence: Mapped[float]
    response_hash: Mapped[str]
    extracted_at: Mapped[datetime]
    resolved_entity_id: Mapped[str | None] = mapped_column(index=True)


# --- Ours --------------------------------------------------------------------------------------------------------------


class BatchRun(Base):
    """Who holds a batch, and how it is to be worked through. Its primary key is the claim."""

    __tablename__ = "knowledge_batch_run"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    ontology_id: Mapped[str]
    params_hash: Mapped[str]
    execution_id: Mapped[str]
    mode: Mapped[str]
    mode_reason: Mapped[str]
    rolled_back_from: Mapped[str | None]
    generation: Mapped[int] = mapped_column(default=0)
    # A token of the process that holds the batch. Every write names it, so one that lost the batch can't write.
    # The column keeps its old name: processes of the version before may still be at work when the schema is upgraded.
    holder_token: Mapped[str | None] = mapped_column("owner", key="holder_token")
    heartbeat_at: Mapped[datetime]
    cancel_requested_at: Mapped[datetime | None]
    flow_run_id: Mapped[str | None]
    next_sequence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class OntologyContent(Base):
    """An ontology's text, once per content."""

    __tablename__ = "knowledge_ontology_content"
    hash: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]


class BatchDocument(Base):
    """A document as the caller gave it. ``position`` counts from 0 in the order of the request."""

    __tablename__ = "knowledge_batch_document"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[str]
    text: Mapped[str]
    content_hash: Mapped[str]
    ontology_hash: Mapped[str] = mapped_column(ForeignKey(OntologyContent.hash))
    __table_args__ = (
        UniqueConstraint("batch_id", "document_id"),
        # What is new is asked by content.
        Index("ix_knowledge_batch_document_content", "content_hash", "ontology_hash"),
    )


class DocumentOutcome(Base):
    """Where a document stands. ``outcome`` is null while attempts are left.

    ``attempts`` counts the finished ones of this ``generation``, and the moments are the last one's. A resume
    gives a failed document a new generation, and with it its whole budget again.
    """

    __tablename__ = "knowledge_document_outcome"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    generation: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    extraction: Mapped[dict[str, Any] | None]
    error_class: Mapped[str | None]
    error_message: Mapped[str | None]
    error_terminal: Mapped[bool | None]
    error_args: Mapped[list[Any] | None]


class CanonicalRow(Base):
    """A canonical entity of a resolved batch. ``position`` counts from 0 in the order of their first mentions."""

    __tablename__ = "knowledge_canonical_entity"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]
    name: Mapped[str]
    types: Mapped[list[str]]
    attributes: Mapped[dict[str, Any]]
    confidence: Mapped[float]
    entity_count: Mapped[int]
    __table_args__ = (UniqueConstraint("batch_id", "id"),)


class CanonicalMember(Base):
    """Which canonical entity an entity of a document belongs to. Extractors may use one id in several documents."""

    __tablename__ = "knowledge_canonical_member"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    entity_id: Mapped[str] = mapped_column(primary_key=True)
    canonical_id: Mapped[str]
    __table_args__ = (Index("ix_knowledge_canonical_member_canonical", "batch_id", "canonical_id"),)


class TapeRow(Base):
    """What the extractor failed of at one attempt in shadow mode.

    The attempt that succeeds ends its document, so what it gave is the outcome's extraction: a copy of that here cost
    legacy up to a tenth of its time.
    """

    __tablename__ = "knowledge_tape"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    error_class: Mapped[str]
    error_message: Mapped[str]
    error_terminal: Mapped[bool]
    error_args: Mapped[list[Any]]


class ShadowSubmission(Base):
    """Whether a batch in shadow mode has its shadow: ``requested``, ``submitted`` or ``refused``, and why not."""

    __tablename__ = "knowledge_shadow_submission"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    flow_run_id: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class StoredReport(Base):
    """A parity report, in the shadow's namespace. Never overwritten: a batch that is compared again has another one."""

    __tablename__ = "knowledge_parity_report"
    id: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(index=True)
    channel: Mapped[str]
    verdict: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    report: Mapped[dict[str, Any]]


class StoredBaseline(Base):
    """The noise of the live channel, as it was measured once."""

    __tablename__ = "knowledge_parity_baseline"
    id: Mapped[str] = mapped_column(primary_key=True)
    ontology_hash: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    baseline: Mapped[dict[str, Any]]


class BatchEventRow(Base):
    """An event in its batch's order. ``key`` names what it tells, so telling it twice leaves one row.

    A resume supersedes the events that no longer hold (the old end, the failures that are tried
    again); readers are not shown them.
    """

    __tablename__ = "knowledge_batch_event"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    document_id: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    superseded: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    __table_args__ = (UniqueConstraint("batch_id", "key"),)


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


class Switch(Base):
    """A setting that every process reads: ``mode``, and the ``demotion``, whose value is its reason."""

    __tablename__ = "knowledge_switch"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
