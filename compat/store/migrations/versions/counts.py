"""A batch's counts beside its claim, where a finished document updates them; null means that the older row alone has them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the counts."""
    for name in ("completed_documents", "failed_documents", "entity_count", "relation_count"):
        op.add_column("knowledge_batch_run", sa.Column(name, sa.Integer(), nullable=True))
