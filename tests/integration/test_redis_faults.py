"""A Redis that is gone, late or refusing costs one deadline at most, and no wrong answer."""

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
from service.store.redis_circuit import PAUSE_SECONDS
from service.store.redis_connection import CONNECTIONS_MAX, PROBE_SECONDS, RedisClient
from service.store.redis_replays import RedisReplays
from tests.servers import redis_server
from tests.store_records import NOW_MS, HandClock

pytestmark = pytest.mark.integration

DEADLINE_MS = 100
PATIENCE_MS = 5_000  # Of tests that are about answers, not about time.
SLACK_SECONDS = 0.25  # This machine may be busy.


@pytest.fixture(params=["redis", "valkey"])
def url(request: pytest.FixtureRequest, server_directory: Path) -> Iterator[str]:
    """Run a server of its own, because these tests stop it."""
    directory = server_directory / f"faults-{request.param}"
    directory.mkdir(exist_ok=True)
    with redis_server(request.param, directory) as each:
        yield each


@pytest.fixture
async def client(url: str) -> AsyncIterator[RedisClient]:
    client = RedisClient(url, deadline_ms=DEADLINE_MS)
    yield client
    await client.close()


@pytest.fixture
async def patient(url: str) -> AsyncIterator[RedisClient]:
    client = RedisClient(url, deadline_ms=PATIENCE_MS)
    yield client
    await client.close()


@pytest.fixture
def patient_replays(patient: RedisClient) -> RedisReplays:
    return RedisReplays(patient, HandClock())


@pytest.fixture
def replays(client: RedisClient) -> RedisReplays:
    return RedisReplays(client, HandClock())


async def pid_of(url: str) -> int:
    async with redis.asyncio.from_url(url) as server:
        return int((await server.info("server"))["process_id"])


async def remember(replays: RedisReplays, key: bytes, serial: int) -> bytes | None:
    (earlier,) = await replays.remember([key], [serial.to_bytes(20, "big")], NOW_MS)
    return earlier


async def recovered(replays: RedisReplays) -> None:
    for _ in range(100):
        try:
            await remember(replays, os.urandom(16), 0)
        except RedisUnavailableError:
            await asyncio.sleep(0.05)
        else:
            return
    pytest.fail("Redis is back, but the client did not notice")


async def test_a_late_answer_is_never_the_answer_of_the_next_call(
    replays: RedisReplays, url: str
) -> None:
    pid = await pid_of(url)
    known = [os.urandom(16) for _ in range(50)]
    for serial, key in enumerate(known):
        await remember(replays, key, serial)

    for _ in range(3):
        os.kill(pid, signal.SIGSTOP)
        late = await asyncio.gather(
            *(remember(replays, key, 99) for key in known[:8]), return_exceptions=True
        )
        os.kill(pid, signal.SIGCONT)
        await recovered(replays)
        told = [await remember(replays, key, 99) for key in known]

        assert all(isinstance(each, RedisUnavailableError) for each in late)
        assert told == [serial.to_bytes(20, "big") for serial in range(50)]


async def test_a_cancelled_call_leaves_no_answer_behind(patient_replays: RedisReplays) -> None:
    keys = [os.urandom(16) for _ in range(300)]
    for serial, key in enumerate(keys[:150]):
        await remember(patient_replays, key, serial)

    for turn, key in enumerate(keys[150:]):
        call = asyncio.create_task(remember(patient_replays, key, 7))
        for _ in range(turn % 5):  # Cancelled at each of its awaits.
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await remember(patient_replays, keys[turn], 99) == turn.to_bytes(20, "big")


async def test_a_stopped_redis_costs_one_deadline_and_then_nothing(
    replays: RedisReplays, url: str
) -> None:
    await remember(replays, os.urandom(16), 1)
    pid = await pid_of(url)
    os.kill(pid, signal.SIGSTOP)
    try:
        durations = []
        for _ in range(20):
            began = time.perf_counter()
            with pytest.raises(RedisUnavailableError):
                await remember(replays, os.urandom(16), 1)
            durations.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
    finally:
        os.kill(pid, signal.SIGCONT)
    await recovered(replays)

    assert durations[0] < DEADLINE_MS / 1_000 + SLACK_SECONDS
    assert sum(duration > DEADLINE_MS / 2_000 for duration in durations) == 1


async def test_a_caller_in_a_hurry_misses_its_own_deadline_and_no_other_caller_notices(
    patient: RedisClient, patient_replays: RedisReplays, url: str
) -> None:
    key = os.urandom(16)
    await remember(patient_replays, key, 1)
    pid = await pid_of(url)
    os.kill(pid, signal.SIGSTOP)
    began = time.perf_counter()
    with pytest.raises(RedisUnavailableError):
        await patient_replays.remember([os.urandom(16)], [bytes(20)], NOW_MS, 20.0)
    duration = time.perf_counter() - began
    others = asyncio.create_task(remember(patient_replays, key, 2))
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGCONT)

    assert await others == (1).to_bytes(20, "big")
    assert await patient.is_reachable()
    assert duration < 20.0 / 1_000 + SLACK_SECONDS


async def test_hurried_callers_alone_find_out_that_redis_hangs(
    patient: RedisClient, url: str
) -> None:
    await patient.commands([(b"PING",)])
    pid = await pid_of(url)
    os.kill(pid, signal.SIGSTOP)
    replays = RedisReplays(patient, HandClock())
    try:
        with pytest.raises(RedisUnavailableError, match="late"):
            await replays.remember([os.urandom(16)], [bytes(20)], NOW_MS, 20.0)
        await asyncio.sleep(PROBE_SECONDS + SLACK_SECONDS)
        with pytest.raises(RedisUnavailableError, match="unavailable"):
            await replays.remember([os.urandom(16)], [bytes(20)], NOW_MS, 20.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    await recovered(replays)


async def test_a_client_finds_a_redis_that_comes_back(server_directory: Path) -> None:
    directory = server_directory / "back"
    directory.mkdir()
    with redis_server("redis", directory) as url:
        client = RedisClient(url, deadline_ms=DEADLINE_MS)
        replays = RedisReplays(client, HandClock())
        await remember(replays, os.urandom(16), 1)
    with pytest.raises(RedisUnavailableError):
        await remember(replays, os.urandom(16), 1)
    was_reachable = await client.is_reachable()
    with redis_server("redis", directory):
        await recovered(replays)
        is_reachable = await client.is_reachable()
    await client.close()

    assert not was_reachable
    assert is_reachable


async def test_a_redis_that_never_was_is_refused_at_once(tmp_path: Path) -> None:
    client = RedisClient(f"unix://{tmp_path}/none.sock", deadline_ms=DEADLINE_MS)

    began = time.perf_counter()
    for _ in range(50):
        with pytest.raises(RedisUnavailableError):
            await client.commands([(b"PING",)])
    duration = time.perf_counter() - began
    await client.close()

    assert duration < SLACK_SECONDS


async def test_a_script_that_the_server_lost_is_loaded_again(
    patient_replays: RedisReplays, url: str
) -> None:
    key = os.urandom(16)
    await remember(patient_replays, key, 1)
    async with redis.asyncio.from_url(url) as server:
        await server.script_flush()
        lost = await asyncio.gather(*(remember(patient_replays, key, 2) for _ in range(20)))
        await server.flushall()
    after = await remember(patient_replays, key, 3)

    assert lost == [(1).to_bytes(20, "big")] * 20
    assert after is None


async def test_a_redis_without_memory_left_refuses_and_recovers_at_once(
    patient_replays: RedisReplays, url: str
) -> None:
    async with redis.asyncio.from_url(url) as server:
        await remember(patient_replays, os.urandom(16), 1)
        await server.config_set("maxmemory", 1)
        with pytest.raises(RedisUnavailableError, match="refuses"):
            await remember(patient_replays, os.urandom(16), 1)
        await server.config_set("maxmemory", 0)

        assert await remember(patient_replays, os.urandom(16), 1) is None


async def test_more_calls_than_connections_wait_for_one(patient_replays: RedisReplays) -> None:
    answers = await asyncio.gather(
        *(remember(patient_replays, os.urandom(16), 1) for _ in range(200))
    )

    assert answers == [None] * 200


async def test_a_pool_tells_how_many_connections_are_in_use(patient: RedisClient) -> None:
    calls = [asyncio.create_task(patient.commands([(b"PING",)])) for _ in range(CONNECTIONS_MAX)]
    await asyncio.sleep(0)
    during = patient.usage
    await asyncio.gather(*calls)

    assert (during, patient.usage) == (
        (CONNECTIONS_MAX, CONNECTIONS_MAX),
        (0, CONNECTIONS_MAX),
    )


async def test_one_refused_command_leaves_the_connection_in_step(patient: RedisClient) -> None:
    with pytest.raises(RedisUnavailableError):
        await patient.commands([(b"SET", b"a", b"1"), (b"HGET", b"a", b"x"), (b"GET", b"a")])

    assert await patient.commands([(b"GET", b"a"), (b"GET", b"b")]) == [b"1", None]


async def test_a_short_hiccup_is_over_after_the_pause(replays: RedisReplays, url: str) -> None:
    await remember(replays, os.urandom(16), 1)
    pid = await pid_of(url)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RedisUnavailableError):
        await remember(replays, os.urandom(16), 1)
    os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(PAUSE_SECONDS + SLACK_SECONDS)

    assert await remember(replays, os.urandom(16), 1) is None


async def test_buckets_stay_compact_and_expire_after_two_days(
    patient_replays: RedisReplays, url: str
) -> None:
    head = b"\x12\x34"
    for start in range(0, 500, 100):
        keys = [head + os.urandom(14) for _ in range(100)]
        await patient_replays.remember(keys, [bytes(20)] * 100, NOW_MS + start)
    async with redis.asyncio.from_url(url) as server:
        (bucket,) = await server.keys("pb:r:*")
        encoding = await server.object("ENCODING", bucket)
        life_seconds = await server.ttl(bucket)

    assert encoding in (b"ziplist", b"listpack")
    assert 48 * 3_600 < life_seconds <= 49 * 3_600
