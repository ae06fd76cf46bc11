"""The tables as they were before schemas had versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

TEXT = sa.Text()
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the event log and what a claim needs."""
    op.create_table(
        "knowledge_batch_event",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=True),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "sequence"),
        sa.UniqueConstraint("batch_id", "key"),
    )
    op.create_table(
        "knowledge_batch_execution",
        sa.Column("ontology_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("document_ids", JSON, nullable=False),
        sa.Column("total_documents", sa.Integer(), nullable=False),
        sa.Column("completed_documents", sa.Integer(), nullable=False),
        sa.Column("failed_documents", sa.Integer(), nullable=False),
        sa.Column("entity_count", sa.Integer(), nullable=False),
        sa.Column("relation_count", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("failure_policy", TEXT, nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("enable_entity_resolution", sa.Boolean(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("config", JSON, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_batch_execution_organization_id", "knowledge_batch_execution", ["organization_id"])
    op.create_index("ix_knowledge_batch_execution_status", "knowledge_batch_execution", ["status"])
    op.create_table(
        "knowledge_batch_run",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("ontology_id", TEXT, nullable=False),
        sa.Column("params_hash", TEXT, nullable=False),
        sa.Column("execution_id", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("mode_reason", TEXT, nullable=False),
        sa.Column("rolled_back_from", TEXT, nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("owner", TEXT, nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.Column("cancel_requested_at", MOMENT, nullable=True),
        sa.Column("flow_run_id", TEXT, nullable=True),
        sa.Column("next_sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "knowledge_document_outcome",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", TEXT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("extraction", JSON, nullable=True),
        sa.Column("error_class", TEXT, nullable=True),
        sa.Column("error_message", TEXT, nullable=True),
        sa.Column("error_terminal", sa.Boolean(), nullable=True),
        sa.Column("error_args", JSON, nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "document_id"),
    )
    op.create_table(
        "knowledge_mention_record",
        sa.Column("extraction_id", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("raw_text", TEXT, nullable=False),
        sa.Column("mention_type", TEXT, nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("response_hash", TEXT, nullable=False),
        sa.Column("extracted_at", MOMENT, nullable=False),
        sa.Column("resolved_entity_id", TEXT, nullable=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_mention_record_extraction_id", "knowledge_mention_record", ["extraction_id"])
    op.create_index("ix_knowledge_mention_record_organization_id", "knowledge_mention_record", ["organization_id"])
    op.create_index("ix_knowledge_mention_record_resolved_entity_id", "knowledge_mention_record", ["resolved_entity_id"])
    op.create_table(
        "knowledge_ontology_content",
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("content", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "knowledge_switch",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "knowledge_workflow_activity",
        sa.Column("execution_id", TEXT, nullable=False),
        sa.Column("activity_name", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("input", JSON, nullable=True),
        sa.Column("output", JSON, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_workflow_activity_execution_id", "knowledge_workflow_activity", ["execution_id"])
    op.create_index(
        "ix_knowledge_workflow_activity_execution_name", "knowledge_workflow_activity", ["execution_id", "activity_name"]
    )
    op.create_index("ix_knowledge_workflow_activity_organization_id", "knowledge_workflow_activity", ["organization_id"])
    op.create_index("ix_knowledge_workflow_activity_status", "knowledge_workflow_activity", ["status"])
    op.create_table(
        "knowledge_workflow_execution",
        sa.Column("workflow_type", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("input", JSON, nullable=True),
        sa.Column("output", JSON, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("last_activity_name", TEXT, nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_workflow_execution_organization_id", "knowledge_workflow_execution", ["organization_id"])
    op.create_index("ix_knowledge_workflow_execution_status", "knowledge_workflow_execution", ["status"])
    op.create_index("ix_knowledge_workflow_execution_type_status", "knowledge_workflow_execution", ["workflow_type", "status"])
    op.create_table(
        "knowledge_batch_document",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("ontology_hash", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["ontology_hash"], ["knowledge_ontology_content.hash"]),
        sa.PrimaryKeyConstraint("batch_id", "position"),
        sa.UniqueConstraint("batch_id", "document_id"),
    )
    # What old readers ask: workflow_type, then input->>'batchId', newest first.
    op.create_index(
        "ix_knowledge_workflow_execution_batch",
        "knowledge_workflow_execution",
        ["workflow_type", sa.text("(input->>'batchId')"), "created_at"],
    )
