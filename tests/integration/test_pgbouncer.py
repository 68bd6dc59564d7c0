"""The service works behind PgBouncer, whose server connections change with every transaction."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, text

from service.bootstrap.worker import audit
from service.errors import LedgerUnavailableError
from service.settings import Settings
from service.store.sql_database import SqlDatabase
from tests.servers import AS_NOBODY, promobandit_service

pytestmark = [pytest.mark.integration, pytest.mark.requires_tool("pgbouncer")]
SERVER_CONNECTIONS = 2  # Fewer than a single process of the service would like to have.
START_SECONDS_MAX = 10.0


@pytest.fixture
def pooled_url(fresh_postgres_url: str, server_directory: Path) -> Iterator[str]:
    """Run PgBouncer before an empty database; give the database's URL there."""
    place, _, server = fresh_postgres_url.partition("?host=")
    folder = server_directory / "bouncer"
    folder.mkdir(exist_ok=True)
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = user=postgres host={server}\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
        f"logfile = {folder}/log\n"
    )
    command = [*AS_NOBODY, "pgbouncer", "--quiet", str(folder / "pgbouncer.ini")]
    process = subprocess.Popen(command)
    url = f"{place}?host={folder}&port=6432"
    try:
        wait_for(url)
        yield f"{url}&pool_mode=transaction"
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> None:
    deadline = time.perf_counter() + START_SECONDS_MAX
    while True:
        try:
            plain(url).close()
        except psycopg.OperationalError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def plain(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """Connect as somebody else would, with no prepared statements either."""
    address = url.replace("+psycopg", "").replace("&pool_mode=transaction", "")
    return psycopg.connect(address, prepare_threshold=None, autocommit=True)


def limits(connection: Connection) -> tuple[object, ...]:
    names = ("statement_timeout", "transaction_timeout", "enable_seqscan", "plan_cache_mode")
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    return tuple(connection.execute(text(f"SELECT {shown}")).one())


async def test_a_transaction_brings_its_limits_along_and_leaves_none_behind(
    pooled_url: str,
) -> None:
    database = SqlDatabase(pooled_url, timeout_seconds=5)

    found = [await database.read(limits), await database.write(limits)]
    await database.dispose()

    assert found == [("5s", "10s", "off", "force_generic_plan")] * 2
    with plain(pooled_url) as other:
        assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert other.execute("SHOW enable_seqscan").fetchone() == ("on",)


async def test_a_statement_that_takes_too_long_is_ended_and_the_next_one_answered(
    pooled_url: str,
) -> None:
    database = SqlDatabase(pooled_url, timeout_seconds=0.3)

    with pytest.raises(LedgerUnavailableError):
        await database.read(lambda connection: connection.execute(text("SELECT pg_sleep(30)")))
    is_reachable = await database.is_reachable()
    await database.dispose()

    assert is_reachable


@pytest.mark.e2e
def test_a_whole_service_shares_two_connections_of_the_server(
    pooled_url: str, tmp_path: Path
) -> None:
    with (
        promobandit_service(tmp_path / "data", env={"DATABASE_URL": pooled_url}) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        body = {"variants": [{"id": "a"}, {"id": "b"}]}
        client.put("/experiments/spring", json=body).raise_for_status()
        units = [f"u-{number}" for number in range(2_000)]
        send = {"experiment": "spring", "occasion": "may", "units": units}
        decisions = client.post("/choose/batch", json=send).raise_for_status().json()["decisions"]

        def reward(decision_id: str) -> str:
            answer = client.post("/reward", json={"decision_id": decision_id})
            return str(answer.raise_for_status().json()["status"])

        with ThreadPoolExecutor(16) as threads:
            ids = [decision["decision_id"] for decision in decisions[:200]]
            statuses = set(threads.map(reward, ids))
        report = settled_report(client, len(units))
        exported = client.get("/experiments/spring/decisions.ndjson").text.count("\n")

    differences = asyncio.run(
        audit(Settings(database_url=pooled_url))  # type: ignore[arg-type]
    )
    assert statuses == {"accepted"}
    assert report["totals"]["pulls"] == exported == len(units)
    assert report["totals"]["rewards"] == len(ids)
    assert differences == []


def settled_report(client: httpx.Client, pulls: int) -> dict[str, dict[str, int]]:
    deadline = time.perf_counter() + 30
    while True:
        found: dict[str, dict[str, int]] = client.get("/experiments/spring/report").json()
        if found["totals"]["pulls"] == pulls or time.perf_counter() > deadline:
            return found
        time.sleep(0.1)
