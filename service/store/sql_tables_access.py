"""The tables of API keys and of administrative acts; tenants stand in `sql_tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from service.store.sql_tables import metadata, serial

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("tenant", BigInteger, nullable=False),
    Column("scopes", Text, nullable=False),  # Names, with a space between two.
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=True),
    Column("revoked_at_ms", BigInteger, nullable=True),
    Column("last_used_at_ms", BigInteger, nullable=True),
    Column("rate_max", BigInteger, nullable=True),
)

admin_acts = Table(
    "admin_acts",
    metadata,
    Column("id", serial, primary_key=True, autoincrement=True),
    Column("tenant", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "tenant", "id"),
)
