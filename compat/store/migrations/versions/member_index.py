"""Members without an index by their canonical entity: nothing is looked up by it, and each new member cost a page of it."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_knowledge_canonical_member_canonical", "knowledge_canonical_member")
