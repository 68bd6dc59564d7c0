"""Whatever SQL does wrong becomes one of two errors of the domain, and heals by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from service.errors import LedgerUnavailableError, PoisonRecordError
from service.store.sql_database import WRITERS, SqlDatabase, normalised_url
from service.store.sql_engines import postgres_engines
from service.store.sql_ledger import SqlLedger
from tests.sql_stores import decision, opened, reward, url_of

pytestmark = pytest.mark.integration

RECIPIENT = "recipient@example.com"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlDatabase]:
    async with opened(url_of(request.param, request, tmp_path)) as database:
        yield database


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_any_spelling_of_postgresql_uses_the_driver_we_have(scheme: str) -> None:
    assert normalised_url(f"{scheme}://me@host/db") == "postgresql+psycopg://me@host/db"


async def test_a_missing_table_is_unavailability(database: SqlDatabase) -> None:
    with pytest.raises(LedgerUnavailableError):
        await database.read(lambda c: c.execute(text("SELECT * FROM nowhere")).all())


async def test_an_impossible_row_is_poison_and_its_values_stay_unsaid(
    database: SqlDatabase,
) -> None:
    def insert(connection: Connection) -> None:
        values = {"name": RECIPIENT}
        connection.execute(text("INSERT INTO leases (name) VALUES (:name)"), values)

    with pytest.raises(PoisonRecordError) as caught:
        await database.write(insert)

    assert RECIPIENT not in str(caught.value)


async def test_a_number_beyond_64_bits_is_poison(database: SqlDatabase) -> None:
    def insert(connection: Connection) -> None:
        values = {"n": 2**70}
        connection.execute(text("INSERT INTO evidence_revisions VALUES (:n, 1)"), values)

    with pytest.raises(PoisonRecordError):
        await database.write(insert)


async def test_a_failed_change_leaves_nothing(database: SqlDatabase) -> None:
    def insert(connection: Connection) -> None:
        connection.execute(text("INSERT INTO evidence_revisions VALUES (1, 1)"))
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(LedgerUnavailableError):
        await database.write(insert)

    assert await SqlLedger(database).evidence_revisions() == {}


async def test_a_reader_cannot_write(database: SqlDatabase) -> None:
    with pytest.raises(LedgerUnavailableError):
        await database.read(
            lambda c: c.execute(text("INSERT INTO evidence_revisions VALUES (1, 1)"))
        )


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/where.db", f"postgresql://x@/x?host={tmp_path}"):
        database = SqlDatabase(url)

        assert not await database.is_reachable()
        with pytest.raises(LedgerUnavailableError):
            await SqlLedger(database).append([decision(1)], [])

        await database.dispose()
        assert not await database.is_reachable()


async def test_a_locked_sqlite_file_is_waited_for_and_then_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(f"sqlite:///{path}") as database:
        ledger = SqlLedger(database)
        with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
            other.execute("BEGIN IMMEDIATE")
            start = time.perf_counter()
            with pytest.raises(LedgerUnavailableError, match="BUSY"):
                await ledger.append([decision(1)], [])
            waited = time.perf_counter() - start

            held = asyncio.create_task(ledger.append([decision(1)], []))
            await asyncio.sleep(0.1)
            assert not held.done()
            assert await ledger.rows(7, None, 10) == ([], None)  # Readers do not wait.
            other.execute("COMMIT")

            assert (await held).decisions_new == 1
        other.close()
    assert 1 <= waited < 4


async def test_a_full_sqlite_file_is_unavailable_until_there_is_room(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/ledger.db") as database:
        ledger = SqlLedger(database)

        def limit(connection: Connection, pages: int) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        await database.write(lambda connection: limit(connection, 1))
        batch = [decision(unit) for unit in range(900)]
        with pytest.raises(LedgerUnavailableError, match="FULL"):
            await ledger.append(batch, [])
        await database.write(lambda connection: limit(connection, 1_000_000))

        assert await ledger.rows(7, None, 10) == ([], None)
        assert (await ledger.append(batch, [])).decisions_new == 900


async def test_lost_postgresql_connections_are_replaced_unseen(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as database:
        ledger = SqlLedger(database)
        await ledger.append([decision(1)], [])
        with psycopg.connect(fresh_postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'promobandit' AND datname = current_database()"
            )

        outcome = await ledger.append([decision(1), decision(2)], [reward(decision(1))])

        assert outcome.decisions_new == 1
        assert len((await ledger.rows(7, None, 10))[0]) == 2


async def test_a_lock_held_elsewhere_ends_in_unavailability(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url, timeout_seconds=1) as hasty:
        ledger = SqlLedger(hasty)
        await ledger.append([decision(1)], [])
        with psycopg.connect(fresh_postgres_url.replace("+psycopg", "")) as other:
            other.execute("SELECT * FROM evidence_revisions FOR UPDATE")
            with pytest.raises(LedgerUnavailableError):
                await ledger.append([decision(2)], [])

        assert (await ledger.append([decision(2)], [])).decisions_new == 1


async def test_a_frozen_backend_ends_in_unavailability(fresh_postgres_url: str) -> None:
    def pid(connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    async with opened(fresh_postgres_url, timeout_seconds=1) as hasty:
        frozen = await hasty.write(pid)
        os.kill(frozen, signal.SIGSTOP)
        try:
            with pytest.raises(LedgerUnavailableError, match="too long"):
                await hasty.write(pid)
        finally:
            os.kill(frozen, signal.SIGCONT)

        assert await hasty.is_reachable()


async def test_frozen_backends_hold_no_thread_once_they_are_late(fresh_postgres_url: str) -> None:
    frozen: set[int] = set()

    def freeze(connection: Connection) -> None:
        pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)
        connection.exec_driver_sql("SELECT 1")

    async with opened(fresh_postgres_url, timeout_seconds=0.5) as hasty:
        try:
            for _ in range(WRITERS + 1):
                with pytest.raises(LedgerUnavailableError, match="too long"):
                    await hasty.write(freeze)
            assert len(frozen) == WRITERS + 1
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


async def test_reports_that_take_long_keep_nobody_else_waiting(database: SqlDatabase) -> None:
    may_end = threading.Event()

    def a_long_report(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        may_end.wait(10)

    reports = [asyncio.create_task(database.read(a_long_report, is_report=True)) for _ in range(6)]
    await asyncio.sleep(0)
    found = await database.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
    were_done = [report.done() for report in reports]
    may_end.set()
    await asyncio.gather(*reports)

    assert (found, were_done) == (1, [False] * 6)


async def test_a_frozen_client_does_not_keep_its_locks(fresh_postgres_url: str) -> None:
    url = make_url(normalised_url(fresh_postgres_url))
    frozen, _ = postgres_engines(url, timeout_seconds=0.3, connections=1)
    async with opened(fresh_postgres_url) as database:
        with suppress(DBAPIError), closing(frozen.connect()) as connection:
            connection.execute(text("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE"))

            await database.write(lambda c: c.execute(text("DELETE FROM leases")))
    frozen.dispose()


async def test_patient_work_may_take_longer_than_a_transaction(fresh_postgres_url: str) -> None:
    database = SqlDatabase(fresh_postgres_url, timeout_seconds=0.3)

    await database.read(lambda c: c.execute(text("SELECT pg_sleep(1)")).all(), is_patient=True)

    with pytest.raises(LedgerUnavailableError):
        await database.read(lambda c: c.execute(text("SELECT pg_sleep(1)")).all())
    await database.dispose()


async def test_patient_work_that_is_cancelled_ends_at_once(database: SqlDatabase) -> None:
    has_begun = threading.Event()

    def count_for_hours(connection: Connection) -> None:
        has_begun.set()
        if database.is_sqlite:
            connection.exec_driver_sql(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                " SELECT count(*) FROM n"
            )
        else:
            connection.exec_driver_sql("SELECT pg_sleep(200)")

    recount = asyncio.create_task(database.read(count_for_hours, is_patient=True))
    await asyncio.to_thread(has_begun.wait, 10)
    await asyncio.sleep(0.2)  # The statement follows.
    recount.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recount

    await asyncio.wait_for(database.dispose(), 20)
