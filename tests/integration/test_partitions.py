"""The table of decisions laid out in hash partitions is the same table to the service."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest
from sqlalchemy import Connection, inspect

from service.domain.clock import HOUR_MS
from service.store.sql_ledger import SqlLedger
from service.store.sql_privacy import SqlRetentionStore
from tests.architecture.sources import ROOT
from tests.sql_stores import START_MS, decision, opened

pytestmark = pytest.mark.integration
SCRIPT = ROOT / "deploy" / "sql" / "partition-decisions.sql"


def layout(connection: Connection) -> Mapping[str, object]:
    """Return what PostgreSQL says of the table, but for where its rows lie."""
    found = inspect(connection)
    return {
        "columns": [(each["name"], str(each["type"])) for each in found.get_columns("decisions")],
        "key": found.get_pk_constraint("decisions")["constrained_columns"],
        "indexes": {
            (each["name"], tuple(each["column_names"]), str(each.get("dialect_options")))
            for each in found.get_indexes("decisions")
        },
    }


def lay_out(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as line:
        line.execute(SCRIPT.read_text().encode())


async def test_hash_partitions_hold_the_same_table(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as database:
        before = await database.read(layout)
        lay_out(fresh_postgres_url)

        assert await database.read(layout) == before


async def test_the_ledger_goes_on_in_hash_partitions(fresh_postgres_url: str) -> None:
    old, new = [decision(n) for n in range(40)], [decision(n) for n in range(20, 60)]
    async with opened(fresh_postgres_url) as database:
        ledger, retention = SqlLedger(database), SqlRetentionStore(database)
        await ledger.append(old, [])
        lay_out(fresh_postgres_url)
        await ledger.append(new, [])
        rows, _ = await ledger.rows(7, None, 100)
        expired = await retention.expire(0, START_MS + HOUR_MS, 100)
        differences = await ledger.recount(7)
        wiped, _ = await ledger.rows(7, None, 100)

    assert [row.decision for row in rows] == [*old, *new[20:]]
    assert expired.rows == len({row.decision.unit for row in rows}) == 60
    assert {row.decision.unit for row in wiped} == {""}
    assert differences == []
