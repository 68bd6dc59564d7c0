"""Webhooks, and what they are told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_PENDING = sa.text("delivered_at_ms IS NULL AND given_up_at_ms IS NULL")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("tenant", sa.BigInteger, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("gone_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_webhooks"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant", sa.BigInteger, nullable=False),
        sa.Column("webhook", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("next_at_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=True),
        sa.Column("delivered_at_ms", sa.BigInteger, nullable=True),
        sa.Column("given_up_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "webhook", "id", name="pk_webhook_deliveries"),
    )
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["next_at_ms"],
        sqlite_where=IS_PENDING,
        postgresql_where=IS_PENDING,
    )
    op.create_index("ix_webhook_deliveries_created_at_ms", "webhook_deliveries", ["created_at_ms"])


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
