"""The tables of the ledger and the configuration, as SQLAlchemy metadata; migrations make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only numbers rows by itself in a column that is spelt INTEGER.
serial = BigInteger().with_variant(Integer(), "sqlite")
# Sums of squared micro-units outgrow 64 bits, and SQLite would turn them into floats.
exact = Numeric(60, 0).with_variant(Text(), "sqlite")

tenants = Table(
    "tenants",
    metadata,
    Column("number", serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    UniqueConstraint("id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("active_from_ms", BigInteger, nullable=False),
)

experiments = Table(
    "experiments",
    metadata,
    Column("number", serial, primary_key=True, autoincrement=True),
    Column("tenant", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("head_version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("tenant", "id"),
    sqlite_autoincrement=True,  # A number stands in tokens: it is never given twice.
)

experiment_revisions = Table(
    "experiment_revisions",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("configuration", Text, nullable=False),
)

audit_trail = Table(
    "audit_trail",
    metadata,
    Column("id", serial, primary_key=True, autoincrement=True),
    Column("tenant", BigInteger, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("before", Text, nullable=True),
    Column("after", Text, nullable=False),
    Index(None, "tenant", "experiment"),
)

allocations = Table(
    "allocations",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)


def _decision_columns(*, is_key: bool) -> list[Column[object]]:
    """Return the columns of a decision; as first row it is found by its key."""
    return [
        Column("key", LargeBinary, primary_key=is_key, nullable=False),
        Column("tenant", BigInteger, nullable=False),
        Column("experiment", BigInteger, nullable=False),
        Column("variant", Integer, nullable=False),
        Column("propensity", Double, nullable=False),
        Column("source", SmallInteger, nullable=False),
        Column("holdout", Boolean, nullable=False),
        Column("counted", Boolean, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("key_id", SmallInteger, nullable=False),
        Column("decided_at_ms", BigInteger, nullable=False),
        Column("unit", Text, nullable=False),
        Column("occasion", Text, nullable=False),
        Column("context", Text, nullable=True),
        Column("eligible", Text, nullable=True),  # JSON indices; null when all were.
    ]


# UNCONFIRMED_SOURCES, spelt out: only so do both databases find out that the index answers it.
UNCONFIRMED = text("source IN (1, 3)")

decisions = Table(
    "decisions",
    metadata,
    *_decision_columns(is_key=True),
    Index(None, "experiment", "decided_at_ms", "key"),  # the export
    Index(None, "decided_at_ms", "key"),  # the restoring of the replay memory, newest first
    Index(  # what Redis may not know
        "ix_decisions_unconfirmed",
        "decided_at_ms",
        "key",
        sqlite_where=UNCONFIRMED,
        postgresql_where=UNCONFIRMED,
    ),
)

conflicting_decisions = Table(
    "conflicting_decisions",
    metadata,
    Column("serial", serial, primary_key=True, autoincrement=True),
    *_decision_columns(is_key=False),
    UniqueConstraint("key", "variant", "version", "decided_at_ms"),
    Index(None, "experiment", "decided_at_ms", "key"),
)

rewards = Table(
    "rewards",
    metadata,
    Column("serial", serial, primary_key=True, autoincrement=True),
    Column("key", LargeBinary, nullable=False),
    Column("event", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("tenant", BigInteger, nullable=False),
    Column("experiment", BigInteger, nullable=False),
    Column("variant", Integer, nullable=False),
    Column("decided_at_ms", BigInteger, nullable=False),
    Column("value_micros", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("converts", Boolean, nullable=False),
    Column("occurred_at_ms", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    UniqueConstraint("key", "event", "event_id"),
    Index(None, "experiment", "serial"),  # the recount
)

evidence = Table(
    "evidence",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("segment", Text, primary_key=True),
    Column("variant", Integer, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("pulls", BigInteger, nullable=False),
    Column("conversions", BigInteger, nullable=False),
    Column("value_micros", exact, nullable=False),
    Column("value_micros_squared", exact, nullable=False),
    Column("events", Text, nullable=False),
    Column("delays", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index(None, "experiment", "revision"),
)

evidence_revisions = Table(
    "evidence_revisions",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

outbox_positions = Table(
    "outbox_positions",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("variant", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("pulls", BigInteger, nullable=False),
    Column("conversions", BigInteger, nullable=False),
    Column("value_micros", exact, nullable=False),
    Column("effective_pulls", Double, nullable=False),
    Column("effective_successes", Double, nullable=False),
    Column("propensity", Double, nullable=False),
    Index(None, "at_ms"),  # the thinning
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)
