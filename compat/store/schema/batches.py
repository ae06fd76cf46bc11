"""A batch's own tables: who holds it, its documents, outcomes, events, and its merged graph."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compat.contracts import utc_now
from compat.store.schema.base import Base


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
    # Why its entities could not be merged, where that failed.
    resolution_error: Mapped[str | None]
    next_sequence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    # The batch's counts, true at every commit. The old row of the batch, which holds the ids of all documents and so costs
    # more the larger the batch is, gets them now and then; null where an older version served the batch.
    completed_documents: Mapped[int | None]
    failed_documents: Mapped[int | None]
    entity_count: Mapped[int | None]
    relation_count: Mapped[int | None]
    # The batch whose failed documents these are.
    failed_of: Mapped[str | None] = mapped_column(index=True)


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
    # Outcomes are read in the request's order, a block at a time.
    __table_args__ = (Index("ix_knowledge_document_outcome_position", "batch_id", "position"),)


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


# The switch that is set while the batches which the engine has in work are to be handed to legacy.
IN_FLIGHT = "in flight"


class Switch(Base):
    """A setting that every process reads: ``mode``, the engine's share (``ramp``, ``ramp:ORGANIZATION``), the ``demotion``."""

    __tablename__ = "knowledge_switch"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
