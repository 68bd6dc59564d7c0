"""An API process that starts while SQL is down serves from Redis and its copy of the keys."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
import pytest
import redis
from pydantic import SecretStr

from service.access import KeyWish
from service.api.app import create_app
from service.api.dependencies import Services
from service.bootstrap.access import create_key, has_valid_key, revoke_key
from service.bootstrap.api import build_api
from service.bootstrap.worker import migrate_schema
from service.domain.access import ALL_SCOPES
from service.domain.experiment import Variant
from service.experiments import Definition, Target
from service.settings import Settings
from service.store.redis_allocations import RedisAllocations
from service.store.redis_connection import RedisClient
from tests.servers import postgres_server

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("redis")]

SECONDS_MAX = 20.0


class Prepared(NamedTuple):
    """What a process has served, and the key that opens it."""

    key: str
    choice: dict[str, str]


@pytest.fixture(scope="module")
def sql_directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
async def settings(redis_url: str, sql_directory: Path, tmp_path: Path) -> Settings:
    with redis.Redis.from_url(redis_url) as server:
        server.flushall()
    url = f"postgresql://postgres@/postgres?host={sql_directory}"
    return Settings(
        redis_url=SecretStr(redis_url), database_url=SecretStr(url), data_dir=tmp_path / "data"
    )


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[Services]:
    """Run an API process that others than this machine may reach."""
    services = build_api(settings, is_exposed=True)
    await services.start()
    try:
        yield services
    finally:
        await services.stop()


@asynccontextmanager
async def caller(services: Services, key: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(services))
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers
    ) as client:
        yield client


async def is_ready(services: Services) -> bool:
    deadline = time.perf_counter() + SECONDS_MAX
    while await services.health.reasons():
        if time.perf_counter() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def prepare(settings: Settings) -> Prepared:
    """Make a key and an experiment, and have a process serve it."""
    experiment = f"spring-{secrets.token_hex(4)}"
    await migrate_schema(settings)
    _, key = await create_key(settings, KeyWish(scopes=ALL_SCOPES), "cli:ada")
    client = RedisClient(str(settings.redis), deadline_ms=2_000)
    async with process(settings) as services:
        definition = Definition(variants=(Variant("a"), Variant("b")))
        await services.experiments.put(Target(1, experiment, "ada"), definition)
        await RedisAllocations(client).begin_epoch("whole")
    await client.close()
    return Prepared(key, {"experiment": experiment, "unit": "ada", "occasion": "first"})


async def test_a_restarted_process_answers_choices_without_sql(
    settings: Settings, sql_directory: Path
) -> None:
    with postgres_server(sql_directory):
        key, choice = await prepare(settings)

    async with process(settings) as services:
        assert await is_ready(services)
        async with caller(services, key) as client:
            answer = await client.post("/choose", json=choice)
        async with caller(services, key[:-1] + "_") as stranger:
            refusal = await stranger.post("/choose", json=choice)

    assert (answer.status_code, answer.json()["source"]) == (200, "policy")
    assert refusal.status_code == 401


async def test_without_a_copy_it_is_not_ready_and_lets_nobody_in(
    settings: Settings, sql_directory: Path
) -> None:
    with postgres_server(sql_directory):
        key, choice = await prepare(settings)
    (settings.outbox / "keys.cache").unlink()

    async with process(settings) as services:
        reasons = await services.health.reasons()
        async with caller(services, key) as client:
            answer = await client.post("/choose", json=choice)

    assert "the API keys are not loaded yet" in reasons
    assert answer.status_code == 503


async def test_a_key_revoked_meanwhile_is_refused_once_sql_is_back(
    settings: Settings, sql_directory: Path
) -> None:
    with postgres_server(sql_directory):
        key, choice = await prepare(settings)
    assert await has_valid_key(settings, migrate=False)  # By the copy.

    async with process(settings) as services, caller(services, key) as client:
        assert await is_ready(services)
        assert (await client.post("/choose", json=choice)).status_code == 200
        with postgres_server(sql_directory):
            assert await revoke_key(settings, key.split("_")[1], "cli:ada")
            deadline = time.perf_counter() + SECONDS_MAX
            while (answer := await client.post("/choose", json=choice)).status_code == 200:
                assert time.perf_counter() < deadline
                await asyncio.sleep(0.1)

    assert answer.status_code == 401
