"""Outcomes with an index by their order, so that a block of them is read without the rest of the batch.

Members lose the one by their canonical entity: nothing is looked up by it, and each new member cost a page of it.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the one index and drop the other."""
    op.create_index("ix_knowledge_document_outcome_position", "knowledge_document_outcome", ["batch_id", "position"])
    op.drop_index("ix_knowledge_canonical_member_canonical", "knowledge_canonical_member")
