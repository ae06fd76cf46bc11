"""Shadow runs and their reports; and an index by content, for sources of which only what is new is wanted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

TEXT = sa.Text()
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the tables of shadow runs and their reports."""
    op.create_table(
        "knowledge_parity_baseline",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("ontology_hash", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("baseline", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_parity_baseline_ontology_hash", "knowledge_parity_baseline", ["ontology_hash"])
    op.create_table(
        "knowledge_parity_report",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_parity_report_batch_id", "knowledge_parity_report", ["batch_id"])
    op.create_index("ix_knowledge_parity_report_created_at", "knowledge_parity_report", ["created_at"])
    op.create_table(
        "knowledge_shadow_submission",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("flow_run_id", TEXT, nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "knowledge_tape",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_class", TEXT, nullable=False),
        sa.Column("error_message", TEXT, nullable=False),
        sa.Column("error_terminal", sa.Boolean(), nullable=False),
        sa.Column("error_args", JSON, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "document_id", "generation", "attempt"),
    )
    op.create_index("ix_knowledge_batch_document_content", "knowledge_batch_document", ["content_hash", "ontology_hash"])
