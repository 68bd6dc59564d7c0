"""The tables of erasures and of the retention.

There is no index on a decision's unit: it would be the largest of the ledger and cost every choice,
while an erasure may well take the time of reading the table once.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from service.store.sql_tables import metadata

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("requested_at_ms", BigInteger, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("segments", Text, nullable=True),  # JSON names; null before the first pass.
    Column("done_at_ms", BigInteger, nullable=True),
    Column("rows", BigInteger, nullable=False),
    Index(None, "done_at_ms"),  # the pending ones
)

# The keys of what a pending erasure wiped: their rewards can be found by nothing else.
erased_keys = Table(
    "erased_keys",
    metadata,
    Column("erasure", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
)

retention = Table(
    "retention",
    metadata,
    Column("name", Text, primary_key=True),
    Column("until_ms", BigInteger, nullable=False),
)
