"""How the replay memory asks Redis: one call a batch, or one for each hash tag of a cluster."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from service.domain.clock import DAY_MS, HOUR_MS
from service.store.redis_connection import Command, Script, ScriptCall
from service.store.redis_replays import RedisReplays
from tests.store_records import NOW_MS, HandClock, a_decision


class Recorder:
    """Redis that has never seen any of the keys, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[bytes], bytes, bytes]] = []
        self.deadlines: list[float | None] = []

    async def run(
        self,
        lua: Script,
        keys: Sequence[bytes],
        *arguments: bytes,
        deadline_ms: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Note a call and answer with a place for each entry."""
        assert lua.text
        self.deadlines.append(deadline_ms)
        entries, seconds = arguments
        self.calls.append((list(keys), entries, seconds))
        return [b"%d" % i for i in range(len(entries) // 28)]

    async def run_each(
        self, lua: Script, calls: Sequence[ScriptCall], deadline_ms: float | None = None
    ) -> list[Any]:
        """Note and answer each."""
        return [await self.run(lua, c.keys, *c.arguments, deadline_ms=deadline_ms) for c in calls]

    async def commands(self, commands: Iterable[Command]) -> list[Any]:
        """Never asked."""
        raise NotImplementedError


def tags(keys: Sequence[bytes]) -> set[bytes]:
    return {found.group(1) for key in keys if (found := re.search(rb"\{(.+?)\}", key))}


KEYS = [bytes([first]) + os.urandom(15) for first in range(256)]
VALUES = [bytes(20)] * 256


async def test_a_batch_is_one_call_on_a_single_server() -> None:
    redis = Recorder()
    await RedisReplays(redis, HandClock()).remember(KEYS, VALUES, NOW_MS)

    assert len(redis.calls) == 1
    assert len(tags(redis.calls[0][0])) == 16


async def test_each_call_has_one_hash_tag_in_a_cluster() -> None:
    redis = Recorder()
    await RedisReplays(redis, HandClock(), by_tag=True).remember(KEYS, VALUES, NOW_MS)

    assert [len(tags(keys)) for keys, _, _ in redis.calls] == [1] * 16


async def test_what_the_callers_have_left_goes_along_with_every_call() -> None:
    redis = Recorder()
    await RedisReplays(redis, HandClock(), by_tag=True).remember(KEYS, VALUES, NOW_MS, 3.5)
    await RedisReplays(redis, HandClock()).remember(KEYS, VALUES, NOW_MS)

    assert redis.deadlines == [3.5] * 16 + [None]


async def test_answers_of_several_tags_come_in_the_order_of_the_keys() -> None:
    shuffled = [key for pair in zip(KEYS[:128], KEYS[128:], strict=True) for key in pair]
    answers = await RedisReplays(Recorder(), HandClock(), by_tag=True).remember(
        shuffled, VALUES, NOW_MS
    )

    places: dict[int, int] = {}
    expected = []
    for key in shuffled:
        tag = key[0] >> 4
        expected.append(b"%d" % places.get(tag, 0))
        places[tag] = places.get(tag, 0) + 1
    assert answers == expected


async def test_all_keys_are_declared_this_generation_first() -> None:
    redis = Recorder()
    await RedisReplays(redis, HandClock()).remember(KEYS[:1], VALUES[:1], 20_000 * DAY_MS)
    ((now, before), entries, seconds) = redis.calls[0]
    bucket = int.from_bytes(KEYS[0][:2], "big") >> 2

    assert now == b"pb:r:{0}:20000:%d" % bucket
    assert before == b"pb:r:{0}:19999:%d" % bucket
    assert entries == KEYS[0][2:10] + VALUES[0]
    assert int(seconds) == 49 * 3_600


async def test_in_the_last_hour_of_a_day_the_next_one_is_asked_too() -> None:
    redis = Recorder()
    replays = RedisReplays(redis, HandClock())
    for at_ms in (20_001 * DAY_MS - HOUR_MS - 1, 20_001 * DAY_MS - HOUR_MS):
        await replays.remember(KEYS[:1], VALUES[:1], at_ms)
    days = [[key.split(b":")[3] for key in keys] for keys, _, _ in redis.calls]

    assert days == [[b"20000", b"19999"], [b"20000", b"19999", b"20001"]]


async def test_a_value_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        await RedisReplays(Recorder(), HandClock()).remember(KEYS[:1], [bytes(19)], NOW_MS)


async def test_decisions_that_nobody_looks_up_any_more_are_not_restored() -> None:
    redis = Recorder()
    old = [
        a_decision(1, at_ms=NOW_MS - 2 * DAY_MS - HOUR_MS),
        a_decision(2, at_ms=NOW_MS - 9 * DAY_MS),
    ]
    await RedisReplays(redis, HandClock()).restore(old)

    assert redis.calls == []


async def test_restoring_asks_for_500_at_a_time() -> None:
    redis = Recorder()
    await RedisReplays(redis, HandClock()).restore([a_decision(serial) for serial in range(1_200)])

    assert [len(entries) // 28 for _, entries, _ in redis.calls] == [500, 500, 200]


async def test_names_of_old_generations_are_dropped() -> None:
    replays = RedisReplays(Recorder(), HandClock())
    for day in range(10):
        await replays.remember(KEYS[:1], VALUES[:1], NOW_MS + day * DAY_MS)

    assert len(replays._names) <= 4
