"""Index the decisions that Redis may not know: few, or none at all while it is there."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UNCONFIRMED = sa.text("source IN (1, 3)")


def upgrade() -> None:
    op.create_index(
        "ix_decisions_unconfirmed",
        "decisions",
        ["decided_at_ms", "key"],
        sqlite_where=UNCONFIRMED,
        postgresql_where=UNCONFIRMED,
    )


def downgrade() -> None:
    op.drop_index("ix_decisions_unconfirmed", "decisions")
