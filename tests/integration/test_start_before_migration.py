"""An API process that a rollout starts before its migration has run waits for it, unready."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from service.api.dependencies import Services
from service.bootstrap.api import build_api
from service.bootstrap.worker import migrate_schema
from service.settings import Settings
from service.store import sql_migrations
from tests.sql_stores import opened

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("redis")]
SECONDS_MAX = 20.0


async def settled(services: Services) -> list[str]:
    """Return why a process is not ready, once it is or after a while."""
    deadline = time.perf_counter() + SECONDS_MAX
    while True:
        reasons = await services.health.reasons()
        if not reasons or time.perf_counter() > deadline:
            return reasons
        await asyncio.sleep(0.05)


async def test_a_process_is_not_ready_before_its_migration_has_run(
    redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as server:
        server.flushall()
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with opened(url) as database:
        await database.write(partial(sql_migrations.downgrade, revision="-1"))
    settings = Settings(
        redis_url=SecretStr(redis_url), database_url=SecretStr(url), data_dir=tmp_path / "data"
    )
    services = build_api(settings)
    await services.start()
    try:
        before = await services.health.reasons()
        await migrate_schema(settings)
        after = await settled(services)
    finally:
        await services.stop()

    assert before == ["the database is not migrated to this release yet"]
    assert after == []
