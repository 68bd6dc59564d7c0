"""Two workers at once waste work and spoil nothing; each of them may be the one that was late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from service.domain.decision import Decision, replay_of
from service.store.memory_redis import MemoryReplays
from service.store.memory_sql import MemoryLeaseStore
from service.worker.lease import LEASE_SECONDS, Lease
from service.worker.restore import Restore
from tests.worker_rig import Rig, an_experiment


class Hesitant(MemoryReplays):
    """A replay memory that lets others go on in the midst of a restoration."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()
        self.is_under_way = asyncio.Event()
        self.writes = 0

    async def restore(self, decisions: Sequence[Decision]) -> None:
        """Restore when it is time."""
        self.writes += 1
        self.is_under_way.set()
        await self.may_go_on.wait()
        await super().restore(decisions)


class SmallPages(Restore):
    """Looks more often whether it is still its turn."""

    page = 10


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def tokens() -> count[int]:
    return count(1)


def restorer(rig: Rig, replays: MemoryReplays, tokens: count[int]) -> Restore:
    return SmallPages(
        rig.schedule().refresh,
        rig.stores,
        replays,
        rig.clock,
        rig.metrics,
        lambda: f"epoch-{next(tokens)}",
    )


async def holds(rig: Rig, replays: MemoryReplays, decisions: list[Decision]) -> bool:
    """Whether Redis holds what SQL does."""
    heads = await rig.allocations.heads()
    assert await rig.published.versions(list(heads)) == heads
    keys, other = [d.key for d in decisions], [bytes(20)] * len(decisions)
    earlier = await replays.remember(keys, other, rig.clock.now_ms())
    return earlier == [replay_of(d) for d in decisions]


async def test_the_newer_of_two_restorations_finishes_and_the_older_one_stops(
    rig: Rig, tokens: count[int]
) -> None:
    experiment = await rig.create()
    await rig.allocator().reallocate(experiment, "create")
    decisions = [rig.decision(experiment, i % 4) for i in range(100)]
    await rig.ledger.append(decisions, [])
    rig.published.lose()
    slow, quick = Hesitant(), MemoryReplays()
    older = asyncio.create_task(restorer(rig, slow, tokens).turn())
    await slow.is_under_way.wait()
    await restorer(rig, quick, tokens).turn()
    slow.may_go_on.set()
    await older

    assert await rig.published.epoch() == "epoch-2"
    assert slow.writes == 1
    assert await holds(rig, quick, decisions)


async def test_two_restorations_in_step_leave_a_whole_memory(rig: Rig, tokens: count[int]) -> None:
    replays = MemoryReplays()
    experiments = [await rig.create(an_experiment(name)) for name in ("spring", "summer")]
    for experiment in experiments:
        await rig.allocator().reallocate(experiment, "create")
    decisions = [rig.decision(experiments[i % 2], i % 4) for i in range(50)]
    await rig.ledger.append(decisions, [])
    rig.published.lose()
    both = [restorer(rig, replays, tokens) for _ in range(2)]
    for _ in range(2):  # The turn after, whoever was overtaken finds the memory whole.
        await asyncio.gather(*(each.turn() for each in both))

    assert await rig.published.epoch() in {"epoch-1", "epoch-2"}
    assert await holds(rig, replays, decisions)


async def test_two_allocators_at_once_write_every_version_once(rig: Rig) -> None:
    experiment = await rig.create()
    await rig.allocator().reallocate(experiment, "create")
    both = [rig.schedule() for _ in range(2)]
    for turn in range(5):
        await rig.send(experiment, turn % 4, pulls=40, rewards=8 * (turn % 3))
        rig.clock.at_ms += 1_000
        await asyncio.gather(*(each.tick() for each in both))
    head = await rig.head_version(experiment)

    assert head > 1
    assert [await rig.allocations.get(1, v) is not None for v in range(1, head + 1)] == [
        True
    ] * head
    assert await rig.published.versions([1]) == {1: head}


async def test_a_lease_that_expired_is_anothers_and_the_late_holder_learns_it(rig: Rig) -> None:
    store = MemoryLeaseStore(rig.clock)
    late, other = (Lease(store, "allocator", holder) for holder in ("late", "other"))
    await late.turn()
    await other.turn()
    before = (late.is_held, other.is_held)
    rig.clock.at_ms += round(LEASE_SECONDS * 1_000) + 1  # The late one was stopped so long.
    await other.turn()
    await late.turn()

    assert before == (True, False)
    assert (late.is_held, other.is_held) == (False, True)
