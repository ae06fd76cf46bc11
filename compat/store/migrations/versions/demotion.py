"""The demotion is stored under its own name; it was `latch`."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rename the stored switch."""
    op.execute("UPDATE knowledge_switch SET name = 'demotion' WHERE name = 'latch'")
