"""Create the tallies of rewards, the states of quality checks, and how far those have looked."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reward_outcomes",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("largest_micros", sa.BigInteger(), nullable=False),
        sa.Column("smallest_micros", sa.BigInteger(), nullable=False),
        sa.Column("lag_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "hour", "outcome", name=op.f("pk_reward_outcomes")),
    )
    op.create_index(op.f("ix_reward_outcomes_hour"), "reward_outcomes", ["hour"])
    op.create_table(
        "quality_states",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("checked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "name", name=op.f("pk_quality_states")),
    )
    op.create_table(
        "quality_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_quality_marks")),
    )


def downgrade() -> None:
    op.drop_table("quality_marks")
    op.drop_table("quality_states")
    op.drop_table("reward_outcomes")
