"""The tables of the watch over data quality: tallies of rewards, states of checks, and marks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from service.store.sql_tables import metadata

reward_outcomes = Table(
    "reward_outcomes",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("largest_micros", BigInteger, nullable=False),
    Column("smallest_micros", BigInteger, nullable=False),
    Column("lag_ms", BigInteger, nullable=False),
    Index(None, "hour"),  # the newest ones of all experiments, and the deletion of the oldest
)

quality_states = Table(
    "quality_states",
    metadata,
    Column("experiment", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),  # of the check
    Column("state", SmallInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("checked_at_ms", BigInteger, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("figures", Text, nullable=False),
)

# How far a look through the rewards has come, by the name of what is looked for.
quality_marks = Table(
    "quality_marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),
)
