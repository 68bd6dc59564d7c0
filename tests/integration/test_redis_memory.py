"""One million remembered decisions fit into 45 MB of Redis."""

from __future__ import annotations

import os

import pytest
import redis.asyncio

from service.store.redis_connection import RedisClient
from service.store.redis_replays import RedisReplays
from tests.store_records import NOW_MS, HandClock

pytestmark = pytest.mark.integration

BYTES_A_DECISION_MAX = 45
COUNT, BATCH = 62_500, 500
# A sixteenth of a million in a sixteenth of the buckets: each is as full as it would be.
FIRST_BYTES = 16


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_decision_takes_45_bytes_at_most(kind: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    client = RedisClient(url, deadline_ms=5_000)
    replays = RedisReplays(client, HandClock())
    async with redis.asyncio.from_url(url) as server:
        await server.flushall()
        before = (await server.info("memory"))["used_memory"]
        for _ in range(COUNT // BATCH):
            keys = [bytes([i % FIRST_BYTES]) + os.urandom(15) for i in range(BATCH)]
            await replays.remember(keys, [os.urandom(20) for _ in keys], NOW_MS)
        after = (await server.info("memory"))["used_memory"]
        buckets = await server.dbsize()
        await server.flushall()
    await client.close()

    assert buckets == FIRST_BYTES * 64
    assert (after - before) / COUNT <= BYTES_A_DECISION_MAX
