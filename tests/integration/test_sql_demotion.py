"""A PostgreSQL server that was demoted in a failover is left for the one that was promoted."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from service.store.sql_allocations import SqlAllocationStore
from service.store.sql_database import SqlDatabase
from service.store.sql_ledger import SqlLedger
from tests.sql_stores import allocation, decision, experiment, opened, reward

pytestmark = pytest.mark.integration


def demote(connection: Connection) -> None:
    """Let this connection answer as one to a standby does from now on."""
    connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")


async def write(database: SqlDatabase, what: str) -> None:
    if what == "allocation":
        await SqlAllocationStore(database).insert(allocation(experiment(), 1))
    elif what == "rewards":
        await SqlLedger(database).append([], [reward(decision(1))])
    else:
        await SqlLedger(database).append([decision(1)], [])


@pytest.mark.parametrize("what", ["allocation", "rewards", "decisions"])
async def test_a_connection_that_takes_no_writes_is_not_used_again(
    fresh_postgres_url: str, what: str
) -> None:
    async with opened(fresh_postgres_url) as database:
        await database.write(demote)

        await write(database, what)

        assert await database.is_reachable()
