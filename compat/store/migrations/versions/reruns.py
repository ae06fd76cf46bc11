"""Which batch a batch repeats the failed documents of."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column, and the index by which a batch finds those that repeat it."""
    op.add_column("knowledge_batch_run", sa.Column("failed_of", sa.Text(), nullable=True))
    op.create_index("ix_knowledge_batch_run_failed_of", "knowledge_batch_run", ["failed_of"])
