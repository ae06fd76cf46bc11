"""The four tables that old readers know (CONTRACT 8)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from compat.store.schema.base import Base, OldRow


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
