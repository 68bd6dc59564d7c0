"""The outbox is synced once for all who wait, and a disk that hangs holds nobody."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from service.errors import OutboxUnavailableError
from service.rewards.synced import SyncedOutbox
from service.store.memory_redis import MemoryOutbox
from tests.sql_stores import decision, reward

REWARDS = [reward(decision(1))]
LONG = 30.0


class SlowDisk(MemoryOutbox):
    """An outbox whose syncs wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.has_begun, self.is_open, self.has_ended = Event(), Event(), Event()
        self.covered: list[int] = []

    def sync(self) -> None:
        """Sync what was there when it began."""
        self.begun += 1
        self.has_begun.set()
        count = len(self.records)
        self.is_open.wait()
        super().sync()
        self.covered.append(count)
        self.has_ended.set()


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


async def begun(disk: SlowDisk) -> None:
    await asyncio.to_thread(disk.has_begun.wait)


async def test_a_disk_that_hangs_holds_nobody_and_takes_one_thread(disk: SlowDisk) -> None:
    outbox = SyncedOutbox(disk, seconds_max=0.02)
    try:
        for _ in range(3):
            with pytest.raises(OutboxUnavailableError):
                await outbox.put(REWARDS)

        assert disk.begun == 1
    finally:
        disk.is_open.set()


async def test_a_disk_that_hung_is_used_again(disk: SlowDisk) -> None:
    outbox = SyncedOutbox(disk, seconds_max=0.5)
    with pytest.raises(OutboxUnavailableError):
        await outbox.put(REWARDS)
    disk.is_open.set()
    await asyncio.to_thread(disk.has_ended.wait)
    await asyncio.sleep(0.01)  # Until the loop has heard of it.

    await outbox.put(REWARDS)
    assert disk.covered == [1, 2]


async def test_what_is_appended_during_a_sync_waits_for_the_next_one(disk: SlowDisk) -> None:
    outbox = SyncedOutbox(disk, LONG)
    first = asyncio.create_task(outbox.put(REWARDS))
    await begun(disk)
    others = [asyncio.create_task(outbox.put(REWARDS)) for _ in range(3)]
    await asyncio.sleep(0)
    disk.is_open.set()
    await asyncio.gather(first, *others)

    assert disk.covered == [1, 4]


async def test_a_sync_that_fails_fails_for_all_who_appended_before_its_end(disk: SlowDisk) -> None:
    outbox = SyncedOutbox(disk, LONG)
    first = asyncio.create_task(outbox.put(REWARDS))
    await begun(disk)
    second = asyncio.create_task(outbox.put(REWARDS))
    await asyncio.sleep(0)
    disk.is_full = True
    disk.is_open.set()
    failures = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(failure) for failure in failures] == [OutboxUnavailableError] * 2
    disk.is_full = False
    await outbox.put(REWARDS)
    assert disk.covered == [3]
