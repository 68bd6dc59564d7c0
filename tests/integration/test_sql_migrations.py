"""Migrations make the schema that the code means, also when processes start together."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text

from service.domain.split import split_pulls
from service.store import sql_export, sql_migrations
from service.store.records import Cursor
from service.store.sql_database import SqlDatabase
from service.store.sql_ledger import SqlLedger
from service.store.sql_split import SqlSplitStore
from service.store.sql_tables import metadata
from tests.sql_stores import decision, opened, url_of

pytestmark = pytest.mark.integration

MIGRATE = """
import asyncio, sys
from service.store.sql_database import SqlDatabase

async def main():
    database = SqlDatabase(sys.argv[1])
    await database.migrate()
    await database.dispose()

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, request, tmp_path)


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrated_schema_is_that_of_the_tables(url: str) -> None:
    async with opened(url) as database:
        assert await database.read(differences) == []


async def test_migrating_again_changes_nothing(url: str) -> None:
    async with opened(url) as database:
        await database.migrate()

        assert await database.is_current()


def plan_of_unconfirmed(connection: Connection) -> str:
    """Return how the database means to find what Redis may not know."""
    asked: list[tuple[object, ...]] = []

    def note(*arguments: object) -> None:
        asked.append(arguments)

    event.listen(connection, "before_cursor_execute", note)
    sql_export.unconfirmed_decisions(connection, 1, Cursor(2, b"k"), 3)
    event.remove(connection, "before_cursor_execute", note)
    _, _, statement, parameters, *_ = asked[-1]
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    found = connection.exec_driver_sql(f"{explain} {statement}", cast(Any, parameters))
    return str(found.fetchall())


async def test_what_redis_may_not_know_is_found_without_reading_the_rest(url: str) -> None:
    async with opened(url) as database:
        assert "ix_decisions_unconfirmed" in await database.read(plan_of_unconfirmed)


async def test_an_empty_database_is_not_current(url: str) -> None:
    database = SqlDatabase(url)

    assert await database.is_reachable()
    assert not await database.is_current()

    await database.dispose()


async def test_a_database_of_a_newer_release_serves_an_older_one(url: str) -> None:
    async with opened(url) as database:
        await database.write(
            lambda connection: connection.exec_driver_sql(
                "UPDATE alembic_version SET version_num = 'of the next release'"
            )
        )

        assert await database.is_current()


async def test_a_downgrade_leaves_nothing_behind(url: str) -> None:
    async with opened(url) as database:
        await database.write(sql_migrations.downgrade)

        names = await database.read(lambda connection: inspect(connection).get_table_names())
        assert names == ["alembic_version"]

        await database.migrate()
        assert await database.is_current()


async def test_what_was_decided_before_is_counted_by_allocation_too(url: str) -> None:
    async with opened(url) as database:
        ledger, splits = SqlLedger(database), SqlSplitStore(database)
        sent = [decision(unit, variant=unit % 3, hours=unit % 4) for unit in range(50)]
        await ledger.append(sent, [])

        await database.write(partial(sql_migrations.downgrade, revision="0007"))
        await database.migrate()

        assert (await splits.changes(7)).pulls == split_pulls(sent)
        assert await ledger.recount(7) == []


async def test_the_default_tenant_is_number_one_and_the_next_one_another(url: str) -> None:
    def add(connection: Connection) -> list[tuple[int, str]]:
        connection.execute(text("INSERT INTO tenants (id) VALUES ('shop')"))
        rows = connection.execute(text("SELECT number, id FROM tenants ORDER BY number"))
        return [(row.number, row.id) for row in rows]

    async with opened(url) as database:
        assert await database.write(add) == [(1, "default"), (2, "shop")]


async def test_processes_that_start_together_migrate_once(url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]

    errors = await asyncio.gather(*(process.communicate() for process in processes))

    assert [process.returncode for process in processes] == [0, 0, 0], errors
    async with opened(url) as database:
        assert await database.read(differences) == []
