"""Model answers, the ledger of calls, and the limits of providers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.Text()
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables of model answers, calls and limits."""
    op.create_table(
        "knowledge_model_answer",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("output", TEXT, nullable=True),
        sa.Column("tokens_in", sa.Integer(), nullable=False),
        sa.Column("tokens_out", sa.Integer(), nullable=False),
        sa.Column("answered_at", sa.Double(), nullable=True),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.Column("holder", TEXT, nullable=True),
        sa.Column("held_until", sa.Double(), nullable=True),
        sa.Column("batch_id", TEXT, nullable=True),
        sa.Column("batch_holder", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_knowledge_model_answer_used_at", "knowledge_model_answer", ["used_at"])
    op.create_table(
        "knowledge_model_call",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("document_id", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("chunk", TEXT, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("answer_key", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("tokens_in", sa.Integer(), nullable=False),
        sa.Column("tokens_out", sa.Integer(), nullable=False),
        sa.Column("tokens_cached", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("reply", TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_model_call_batch", "knowledge_model_call", ["batch_id", "document_id"])
    op.create_index("ix_knowledge_model_call_answer_key", "knowledge_model_call", ["answer_key"])
    op.create_index("ix_knowledge_model_call_created_at", "knowledge_model_call", ["created_at"])
    op.create_table(
        "knowledge_model_limit",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("next_request_at", sa.Double(), nullable=False),
        sa.Column("next_tokens_at", sa.Double(), nullable=False),
        sa.Column("paused_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "knowledge_model_turn",
        sa.Column("limit_key", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("granted_at", sa.Double(), nullable=False),
        sa.Column("waits_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("limit_key", "batch_id"),
    )
