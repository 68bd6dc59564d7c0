"""Every store of service levels adds up what all processes counted, each flush once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS, MINUTE_MS
from service.domain.service_levels import Bucket, LevelFlush, cells_of
from service.store.memory_service_levels import MemoryServiceLevelStore
from service.store.service_level_ports import ServiceLevelStore
from service.store.sql_service_levels import SqlServiceLevelStore
from tests.sql_stores import BACKENDS, START_MS, opened, url_of

GOOD, BAD = Bucket("reports", False, 1_000), Bucket("reports", True, 10**12)
COUNTS = {GOOD: 5, BAD: 2}


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServiceLevelStore]:
    if request.param == "memory":
        yield MemoryServiceLevelStore()
        return
    async with opened(url_of(request.param, request, tmp_path)) as database:
        yield SqlServiceLevelStore(database)


def flush(sequence: int, minutes: int = 0, writer: str = "one") -> LevelFlush:
    at_ms = START_MS + minutes * MINUTE_MS + 17
    return LevelFlush(writer, sequence, at_ms, cells_of(COUNTS, at_ms, MINUTE_MS, HOUR_MS))


async def test_counts_of_all_processes_add_up_by_minute_and_by_hour(
    store: ServiceLevelStore,
) -> None:
    flushes = [flush(1), flush(2), flush(3, minutes=1), flush(1, minutes=60, writer="two")]
    added = [await store.add(each) for each in flushes]

    assert added == [True] * 4
    assert await store.sums(MINUTE_MS, 0) == {GOOD: 20, BAD: 8}
    assert await store.sums(MINUTE_MS, START_MS) == {GOOD: 10, BAD: 4}
    assert await store.sums(HOUR_MS, START_MS - 1) == {GOOD: 20, BAD: 8}
    assert await store.sums(HOUR_MS, START_MS) == COUNTS
    assert await store.sums(MINUTE_MS, 0, START_MS) == {GOOD: 10, BAD: 4}
    assert await store.sums(HOUR_MS, START_MS + HOUR_MS) == {}


async def test_a_flush_sent_again_is_added_once(store: ServiceLevelStore) -> None:
    again = [await store.add(each) for each in (flush(1), flush(1), flush(2), flush(1), flush(2))]

    assert again == [True, False, True, False, False]
    assert await store.sums(MINUTE_MS, 0) == {GOOD: 10, BAD: 4}


async def test_a_flush_without_counts_is_one_all_the_same(store: ServiceLevelStore) -> None:
    assert await store.add(replace(flush(1), cells={}))
    assert not await store.add(flush(1))


async def test_processes_that_flush_at_once_lose_nothing(store: ServiceLevelStore) -> None:
    flushes = [flush(number, writer=w) for w in ("one", "two", "three") for number in (1,)]
    await asyncio.gather(*(store.add(each) for each in flushes))

    assert await store.sums(HOUR_MS, 0) == {GOOD: 15, BAD: 6}


async def test_what_is_old_is_forgotten_by_length(store: ServiceLevelStore) -> None:
    for number, minutes in enumerate((0, 59, 60, 120), start=1):
        await store.add(flush(number, minutes=minutes))

    gone = await store.forget(MINUTE_MS, START_MS + HOUR_MS)

    assert gone == 4
    assert await store.sums(MINUTE_MS, 0) == {GOOD: 10, BAD: 4}
    assert await store.sums(HOUR_MS, 0) == {GOOD: 20, BAD: 8}
    assert await store.forget(HOUR_MS, START_MS + 9 * HOUR_MS) == 6


async def test_a_writer_is_forgotten_with_the_hours_in_which_it_was_last_heard_of(
    store: ServiceLevelStore,
) -> None:
    await store.add(flush(1, writer="gone"))
    await store.add(flush(1, minutes=70, writer="alive"))

    await store.forget(HOUR_MS, START_MS + HOUR_MS)

    assert await store.add(flush(1, writer="gone"))
    assert not await store.add(flush(1, minutes=70, writer="alive"))
