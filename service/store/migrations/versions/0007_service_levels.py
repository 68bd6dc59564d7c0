"""Create the counts of answers by minute and hour, and how far each process has told them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "service_levels",
        sa.Column("span_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("is_bad", sa.Boolean(), nullable=False),
        sa.Column("upto_us", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "span_ms", "start_ms", "route", "is_bad", "upto_us", name=op.f("pk_service_levels")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "service_level_writers",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_service_level_writers")),
    )


def downgrade() -> None:
    op.drop_table("service_level_writers")
    op.drop_table("service_levels")
