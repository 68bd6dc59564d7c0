"""The table of how each allocation's traffic was split.

It has a row for each variant that an allocation sent in an hour, which the transaction inserting
decisions changes like the evidence. It grows with hours and allocations, as those two tables do,
and is never larger than the decisions that it sums up; so nothing is ever taken out of it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from service.store.sql_tables import metadata

version_pulls = Table(
    "version_pulls",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("eligible", Text, primary_key=True),  # JSON indices; empty when all were.
    Column("variant", Integer, primary_key=True, autoincrement=False),
    Column("pulls", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),  # Of the evidence, when it last changed.
    Index(None, "experiment", "revision"),
)
