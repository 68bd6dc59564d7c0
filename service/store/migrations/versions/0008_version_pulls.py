"""Count how each allocation's traffic is split, and what was decided before."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "version_pulls",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("eligible", sa.Text(), nullable=False),
        sa.Column("variant", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "experiment", "hour", "version", "eligible", "variant", name=op.f("pk_version_pulls")
        ),
    )
    # Every experiment that has decisions has had an evidence revision 1.
    op.execute(
        "INSERT INTO version_pulls (experiment, hour, version, eligible, variant, pulls, revision)"
        " SELECT experiment, decided_at_ms / 3600000, version, coalesce(eligible, ''), variant,"
        " count(*), 1 FROM decisions WHERE counted AND NOT holdout GROUP BY 1, 2, 3, 4, 5"
    )
    op.create_index(
        op.f("ix_version_pulls_experiment_revision"), "version_pulls", ["experiment", "revision"]
    )


def downgrade() -> None:
    op.drop_table("version_pulls")
