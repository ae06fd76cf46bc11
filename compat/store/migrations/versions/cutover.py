"""Every change of who serves, and what was found of the engine's batches."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"

TEXT = sa.Text()
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables of the cutover."""
    op.create_table(
        "knowledge_cutover_record",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=True),
        sa.Column("percent", sa.Double(), nullable=True),
        sa.Column("organization", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("trigger", TEXT, nullable=True),
        sa.Column("is_override", sa.Boolean(), nullable=False),
        sa.Column("made_by", TEXT, nullable=False),
        sa.Column("details", JSON, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("told_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_cutover_record_created_at", "knowledge_cutover_record", ["created_at"])
    op.create_table(
        "knowledge_batch_check",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("runtime", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("findings", JSON, nullable=False),
        sa.Column("checked_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "runtime"),
    )
    op.create_index("ix_knowledge_batch_check_checked_at", "knowledge_batch_check", ["checked_at"])
