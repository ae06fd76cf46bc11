"""Why a batch's entities could not be merged."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("knowledge_batch_run", sa.Column("resolution_error", sa.Text(), nullable=True))
