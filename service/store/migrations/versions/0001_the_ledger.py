"""Create the ledger, the configuration and what goes with them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite only numbers rows by itself in a column that is spelt INTEGER.
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Exact beyond 64 bits, which SQLite would turn into floats.
exact = sa.Numeric(60, 0).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    _create_configuration()
    _create_history()
    _create_allocations()
    _create_decisions()
    _create_conflicting_decisions()
    _create_rewards()
    _create_evidence()
    op.execute("INSERT INTO tenants (number, id) VALUES (1, 'default')")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('tenants', 'number'), 1)")


def _create_configuration() -> None:
    op.create_table(
        "tenants",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_tenants")),
        sa.UniqueConstraint("id", name=op.f("uq_tenants_id")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("active_from_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "experiments",
        sa.Column("number", serial, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("head_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_experiments")),
        sa.UniqueConstraint("tenant", "id", name=op.f("uq_experiments_tenant_id")),
        sqlite_autoincrement=True,
    )


def _create_history() -> None:
    op.create_table(
        "experiment_revisions",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("configuration", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "revision", name=op.f("pk_experiment_revisions")),
    )
    op.create_table(
        "audit_trail",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.BigInteger(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_trail")),
    )
    op.create_index(
        op.f("ix_audit_trail_tenant_experiment"), "audit_trail", ["tenant", "experiment"]
    )


def _create_allocations() -> None:
    op.create_table(
        "allocations",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "version", name=op.f("pk_allocations")),
    )
    op.create_table(
        "snapshots",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("variant", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("conversions", sa.BigInteger(), nullable=False),
        sa.Column("value_micros", exact, nullable=False),
        sa.Column("effective_pulls", sa.Double(), nullable=False),
        sa.Column("effective_successes", sa.Double(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "variant", "at_ms", name=op.f("pk_snapshots")),
    )
    op.create_index(op.f("ix_snapshots_at_ms"), "snapshots", ["at_ms"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.BigInteger(), nullable=False),
        sa.Column("experiment", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.Integer(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("source", sa.SmallInteger(), nullable=False),
        sa.Column("holdout", sa.Boolean(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.SmallInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("eligible", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_decided_at_ms_key"), "decisions", ["decided_at_ms", "key"])
    op.create_index(
        op.f("ix_decisions_experiment_decided_at_ms_key"),
        "decisions",
        ["experiment", "decided_at_ms", "key"],
    )


def _create_conflicting_decisions() -> None:
    op.create_table(
        "conflicting_decisions",
        sa.Column("serial", serial, autoincrement=True, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.BigInteger(), nullable=False),
        sa.Column("experiment", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.Integer(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("source", sa.SmallInteger(), nullable=False),
        sa.Column("holdout", sa.Boolean(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.SmallInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("eligible", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_conflicting_decisions")),
        sa.UniqueConstraint(
            "key",
            "variant",
            "version",
            "decided_at_ms",
            name=op.f("uq_conflicting_decisions_key_variant_version_decided_at_ms"),
        ),
    )
    op.create_index(
        op.f("ix_conflicting_decisions_experiment_decided_at_ms_key"),
        "conflicting_decisions",
        ["experiment", "decided_at_ms", "key"],
    )


def _create_rewards() -> None:
    op.create_table(
        "rewards",
        sa.Column("serial", serial, autoincrement=True, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.BigInteger(), nullable=False),
        sa.Column("experiment", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.Integer(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("value_micros", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("converts", sa.Boolean(), nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_rewards")),
        sa.UniqueConstraint("key", "event", "event_id", name=op.f("uq_rewards_key_event_event_id")),
    )
    op.create_index(op.f("ix_rewards_experiment_serial"), "rewards", ["experiment", "serial"])
    op.create_table(
        "outbox_positions",
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("segment", name=op.f("pk_outbox_positions")),
    )


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("variant", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("conversions", sa.BigInteger(), nullable=False),
        sa.Column("value_micros", exact, nullable=False),
        sa.Column("value_micros_squared", exact, nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("delays", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "experiment", "segment", "variant", "hour", name=op.f("pk_evidence")
        ),
    )
    op.create_index(op.f("ix_evidence_experiment_revision"), "evidence", ["experiment", "revision"])
    op.create_table(
        "evidence_revisions",
        sa.Column("experiment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", name=op.f("pk_evidence_revisions")),
    )


def downgrade() -> None:
    for table in (
        "evidence_revisions",
        "evidence",
        "outbox_positions",
        "rewards",
        "conflicting_decisions",
        "decisions",
        "leases",
        "snapshots",
        "allocations",
        "audit_trail",
        "experiment_revisions",
        "experiments",
        "signing_keys",
        "tenants",
    ):
        op.drop_table(table)
