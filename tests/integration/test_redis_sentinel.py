"""With Sentinels, clients find the new primary by themselves, however the old one went."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from service.errors import RedisUnavailableError
from service.store.redis_connection import RedisClient
from tests.sentinels import Watched, watched_servers

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("sentinel")]

DEADLINE_MS = 100
NORMAL_AGAIN_SECONDS = 5.0


@pytest.fixture
def watched(server_directory: Path) -> Iterator[Watched]:
    with watched_servers(server_directory / os.urandom(3).hex()) as each:
        yield each


@pytest.fixture
async def client(watched: Watched) -> AsyncIterator[RedisClient]:
    client = RedisClient(watched.url, deadline_ms=DEADLINE_MS)
    await crowd(client)
    yield client
    await client.close()


async def crowd(client: RedisClient) -> list[BaseException | list[object]]:
    """Use all connections at once."""
    calls = (client.commands([(b"SET", b"k%d" % i, b"1")]) for i in range(8))
    return await asyncio.gather(*calls, return_exceptions=True)


async def seconds_until_normal(client: RedisClient) -> float:
    began = time.perf_counter()
    while any(isinstance(each, RedisUnavailableError) for each in await crowd(client)):
        assert time.perf_counter() - began < 2 * NORMAL_AGAIN_SECONDS, "never normal again"
        await asyncio.sleep(0.02)
    return time.perf_counter() - began


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_client_goes_on_with_the_new_primary(
    watched: Watched, client: RedisClient, how: signal.Signals
) -> None:
    old, pid = watched.signal_primary(how)
    lost = await crowd(client)
    await asyncio.to_thread(watched.wait_for_another_than, old)

    seconds = await seconds_until_normal(client)
    if how == signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)

    assert all(isinstance(each, RedisUnavailableError) for each in lost)
    assert seconds < NORMAL_AGAIN_SECONDS
    async with redis.asyncio.Redis(port=watched.primary()) as server:
        assert len(await server.keys("k*")) == 8


async def test_a_primary_that_became_a_replica_is_left(
    watched: Watched, client: RedisClient
) -> None:
    await asyncio.to_thread(watched.fail_over)

    assert await seconds_until_normal(client) < NORMAL_AGAIN_SECONDS


async def test_a_replica_behind_a_plain_address_opens_the_circuit(watched: Watched) -> None:
    told: list[bool] = []
    url = f"redis://127.0.0.1:{watched.ports[0]}"
    client = RedisClient(url, deadline_ms=DEADLINE_MS, on_circuit=told.append)
    await client.commands([(b"SET", b"a", b"1")])
    async with redis.asyncio.Redis(port=watched.ports[0]) as server:
        await server.replicaof("127.0.0.1", str(watched.ports[1]))
        with pytest.raises(RedisUnavailableError, match="refuses"):
            await client.commands([(b"SET", b"a", b"2")])
        await asyncio.sleep(0.6)
        with pytest.raises(RedisUnavailableError, match="unavailable"):
            await client.commands([(b"GET", b"a")])
        await server.replicaof("NO", "ONE")
    seconds = await seconds_until_normal(client)
    await client.close()

    assert seconds < NORMAL_AGAIN_SECONDS
    assert told == [True, False]


async def test_without_any_sentinel_redis_is_gone() -> None:
    client = RedisClient("redis+sentinel://127.0.0.1:1/main", deadline_ms=DEADLINE_MS)

    with pytest.raises(RedisUnavailableError):
        await client.commands([(b"PING",)])

    await client.close()
