"""Fan-outs: a source that was cut into batches, and the batches that it was cut into."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"

TEXT = sa.Text()


def upgrade() -> None:
    """Add the tables of fan-outs."""
    op.create_table(
        "knowledge_fan_out",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("organization_id", TEXT, nullable=False),
        sa.Column("ontology_id", TEXT, nullable=False),
        sa.Column("documents_per_batch", sa.Integer(), nullable=False),
        sa.Column("batch_count", sa.Integer(), nullable=True),
        sa.Column("config", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("extractor", TEXT, nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "knowledge_fan_out_batch",
        sa.Column("fan_out_id", TEXT, sa.ForeignKey("knowledge_fan_out.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("params_hash", TEXT, nullable=False),
        sa.Column("submissions", sa.Integer(), nullable=False),
        sa.Column("flow_run_id", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("fan_out_id", "number"),
        sa.UniqueConstraint("batch_id"),
    )
