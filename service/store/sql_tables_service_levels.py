"""The tables of service levels: counts of answers, and how far each process has told them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Table, Text

from service.store.sql_tables import metadata

service_levels = Table(
    "service_levels",
    metadata,
    Column("span_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("route", Text, primary_key=True),
    Column("is_bad", Boolean, primary_key=True),
    Column("upto_us", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    sqlite_with_rowid=False,  # A month is summed up in the order of the key: half the size to read.
)

# A flush whose commit nobody saw is sent again: its number tells that it is there already.
service_level_writers = Table(
    "service_level_writers",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
