"""The canonical entities of resolved batches, and the documents' entities that belong to each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

TEXT = sa.Text()
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the tables of the merged graph."""
    op.create_table(
        "knowledge_canonical_entity",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("types", JSON, nullable=False),
        sa.Column("attributes", JSON, nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("entity_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "position"),
        sa.UniqueConstraint("batch_id", "id"),
    )
    op.create_table(
        "knowledge_canonical_member",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("entity_id", TEXT, nullable=False),
        sa.Column("canonical_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "document_id", "entity_id"),
    )
    op.create_index("ix_knowledge_canonical_member_canonical", "knowledge_canonical_member", ["batch_id", "canonical_id"])
