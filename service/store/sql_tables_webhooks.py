"""The tables of webhooks and of what they are told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text

from service.store.sql_tables import metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("tenant", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    # Not a digest, as of API keys: whoever signs needs the secret itself.
    Column("secret", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("gone_at_ms", BigInteger, nullable=True),
)

IS_PENDING = text("delivered_at_ms IS NULL AND given_up_at_ms IS NULL")

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("tenant", BigInteger, primary_key=True, autoincrement=False),
    Column("webhook", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer, nullable=True),
    Column("delivered_at_ms", BigInteger, nullable=True),
    Column("given_up_at_ms", BigInteger, nullable=True),
    Index(
        "ix_webhook_deliveries_pending",
        "next_at_ms",
        sqlite_where=IS_PENDING,
        postgresql_where=IS_PENDING,
    ),
    Index(None, "created_at_ms"),  # the forgetting
)
