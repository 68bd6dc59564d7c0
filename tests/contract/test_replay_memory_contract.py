"""What every replay memory promises: in memory, on Redis 6.2, Valkey 9 and a cluster."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import redis.asyncio

from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.decision import replay_of
from service.domain.redis_address import ClusterAddress, redis_address
from service.errors import RedisUnavailableError
from service.store.memory_redis import MemoryReplays
from service.store.ports import ReplayMemory
from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import RedisClient
from service.store.redis_replays import RedisReplays
from tests.clusters import Cluster
from tests.store_records import NOW_MS, HandClock, a_decision

DEADLINE_MS = 5_000  # Generous: these tests are about answers, not about time.


ON_CLUSTER = [pytest.mark.integration, pytest.mark.xdist_group("cluster")]


class Pair(NamedTuple):
    """Two clients of one memory, as two processes have them."""

    one: ReplayMemory
    other: ReplayMemory


@pytest.fixture(
    params=[
        "memory",
        *(
            pytest.param(name, marks=pytest.mark.integration)
            for name in ("redis", "valkey", "redis by tag", "valkey by tag")
        ),
        pytest.param("redis_cluster", marks=ON_CLUSTER),
    ]
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    if request.param == "memory":
        memory = MemoryReplays()
        yield Pair(memory, memory)
        return
    if request.param == "redis_cluster":
        cluster: Cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        nodes = [on_cluster(cluster) for _ in range(2)]
        yield Pair(*(RedisReplays(each, HandClock(), by_tag=True) for each in nodes))
        for node in nodes:
            await node.close()
        return
    kind, _, by_tag = request.param.partition(" ")
    url: str = request.getfixturevalue(f"{kind}_url")
    async with redis.asyncio.from_url(url) as server:
        await server.flushall()
    clients = [RedisClient(url, deadline_ms=DEADLINE_MS) for _ in range(2)]
    yield Pair(*(RedisReplays(each, HandClock(), by_tag=bool(by_tag)) for each in clients))
    for each in clients:
        await each.close()


def on_cluster(cluster: Cluster) -> RedisCluster:
    address = redis_address(cluster.url)
    assert isinstance(address, ClusterAddress)
    return RedisCluster(address, deadline_ms=DEADLINE_MS)


def keys_of(count: int) -> list[bytes]:
    return [os.urandom(16) for _ in range(count)]


def value(serial: int) -> bytes:
    return serial.to_bytes(20, "big")


async def test_a_new_answer_has_no_earlier_one(pair: Pair) -> None:
    assert await pair.one.remember(keys_of(3), [value(i) for i in range(3)], NOW_MS) == [None] * 3


async def test_the_first_answer_is_told_to_whoever_comes_later(pair: Pair) -> None:
    keys = keys_of(2)
    await pair.one.remember(keys[:1], [value(1)], NOW_MS)

    assert await pair.other.remember(keys, [value(2), value(3)], NOW_MS) == [value(1), None]
    assert await pair.one.remember(keys, [value(4), value(5)], NOW_MS) == [value(1), value(3)]


async def test_the_same_key_twice_in_a_batch_is_decided_once(pair: Pair) -> None:
    (key,) = keys_of(1)

    assert await pair.one.remember([key, key], [value(1), value(2)], NOW_MS) == [None, value(1)]


async def test_whoever_has_no_time_left_is_refused_and_nothing_is_remembered(pair: Pair) -> None:
    keys = keys_of(1)
    with pytest.raises(RedisUnavailableError):
        await pair.one.remember(keys, [value(1)], NOW_MS, 0.0)

    assert await pair.one.remember(keys, [value(2)], NOW_MS, 4_000.0) == [None]


async def test_no_keys_have_no_earlier_answers(pair: Pair) -> None:
    assert await pair.one.remember([], [], NOW_MS) == []


async def test_a_batch_of_500_keeps_its_order(pair: Pair) -> None:
    keys, values = keys_of(500), [value(i) for i in range(500)]

    first = await pair.one.remember(keys, values, NOW_MS)
    again = await pair.other.remember(keys[::-1], [value(0)] * 500, NOW_MS)

    assert first == [None] * 500
    assert again == values[::-1]


async def test_one_of_1000_concurrent_first_answers_wins(pair: Pair) -> None:
    (key,) = keys_of(1)
    calls = [
        (pair.one if serial % 2 else pair.other).remember([key], [value(serial)], NOW_MS)
        for serial in range(1, 1_001)
    ]

    answers = [earlier for (earlier,) in await asyncio.gather(*calls)]

    winner = 1 + answers.index(None)
    assert answers.count(None) == 1
    assert set(answers) - {None} == {value(winner)}


async def test_the_generation_before_is_still_found(pair: Pair) -> None:
    keys = keys_of(1)
    await pair.one.remember(keys, [value(1)], NOW_MS)

    assert await pair.one.remember(keys, [value(2)], NOW_MS + DAY_MS) == [value(1)]


async def test_the_second_generation_before_is_forgotten(pair: Pair) -> None:
    keys = keys_of(1)
    await pair.one.remember(keys, [value(1)], NOW_MS)

    assert await pair.one.remember(keys, [value(2)], NOW_MS + 2 * DAY_MS) == [None]


async def test_what_the_ledger_says_replaces_what_was_remembered(pair: Pair) -> None:
    truth = a_decision(1)
    await pair.one.remember([truth.key], [value(9)], NOW_MS)
    await pair.other.restore([truth])

    assert await pair.one.remember([truth.key], [value(8)], NOW_MS) == [replay_of(truth)]


@pytest.mark.parametrize("days_ago", [0, 1])
async def test_a_lost_answer_is_restored_to_the_generation_of_its_time(
    pair: Pair, days_ago: int
) -> None:
    lost = [a_decision(serial, at_ms=NOW_MS - days_ago * DAY_MS) for serial in range(700)]
    await pair.one.restore(lost)

    keys = [each.key for each in lost[:500]]
    answers = await pair.one.remember(keys, [value(1)] * 500, NOW_MS)
    tomorrow = await pair.one.remember(keys, [value(2)] * 500, NOW_MS + DAY_MS)

    assert answers == [replay_of(each) for each in lost[:500]]
    assert tomorrow == (answers if days_ago == 0 else [None] * 500)


async def test_an_answer_restored_today_replaces_one_of_yesterday(pair: Pair) -> None:
    truth = a_decision(1)
    await pair.one.remember([truth.key], [value(9)], NOW_MS - DAY_MS + HOUR_MS)
    await pair.one.restore([truth])

    assert await pair.one.remember([truth.key], [value(8)], NOW_MS) == [replay_of(truth)]


async def test_processes_an_hour_apart_agree_across_midnight(pair: Pair) -> None:
    midnight = NOW_MS - NOW_MS % DAY_MS
    behind, ahead = midnight - HOUR_MS // 2, midnight + HOUR_MS // 2
    keys = keys_of(2)
    await pair.one.remember(keys[:1], [value(1)], ahead)
    await pair.other.remember(keys[1:], [value(2)], behind)

    assert await pair.other.remember(keys[:1], [value(3)], behind) == [value(1)]
    assert await pair.one.remember(keys[1:], [value(4)], ahead) == [value(2)]


async def test_what_the_ledger_says_replaces_an_answer_of_a_process_that_is_ahead(
    pair: Pair,
) -> None:
    midnight = NOW_MS - NOW_MS % DAY_MS
    behind, ahead = midnight - HOUR_MS // 2, midnight + HOUR_MS // 2
    truth = a_decision(1, at_ms=behind)
    await pair.one.remember([truth.key], [value(9)], ahead)
    await pair.other.restore([truth])

    assert await pair.other.remember([truth.key], [value(8)], behind) == [replay_of(truth)]
