"""A caller in a hurry is queued by itself, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from service.domain.clock import HOUR_MS
from service.domain.decision import Decision
from service.domain.reward import Reward, RewardStatus
from service.metrics import Metrics
from service.rewards.recorder import Recorder
from service.store.memory_ledger import MemoryLedger
from service.store.memory_redis import MemoryOutbox
from service.store.records import LedgerOutcome, OutboxPosition
from tests.fakes import FrozenClock
from tests.sql_stores import decision, reward

REWARD = reward(decision(1))


class GatedLedger(MemoryLedger):
    """A ledger whose transactions begin when they are let in and end when they are let out."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.transactions: list[int] = []

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Append once the gate is open."""
        self.transactions.append(len(rewards))
        self.has_begun.set()
        await self.is_open.wait()
        return await super().append(decisions, rewards, position)


class Rig:
    """A recorder over a ledger with a gate."""

    def __init__(self) -> None:
        self.ledger, self.outbox, self.clock = GatedLedger(), MemoryOutbox(), FrozenClock()
        self.recorder = Recorder(self.ledger, self.outbox, self.clock, Metrics())

    def report(
        self, event_id: str, *, seconds: float | None = None
    ) -> asyncio.Future[RewardStatus]:
        """Report a reward, by a caller that waits for so long."""
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        return self.recorder.enqueue(msgspec.structs.replace(REWARD, event_id=event_id), deadline)

    def queued(self) -> list[str]:
        """Return the ids of events that stand in the outbox, and not as committed."""
        return [record.event_id for record in self.outbox.records if type(record) is Reward]


async def test_a_caller_in_a_hurry_has_nobody_else_queued() -> None:
    rig = Rig()
    patient, hasty = rig.report("patient"), rig.report("hasty", seconds=0.001)

    assert await hasty is RewardStatus.queued
    assert (patient.done(), rig.queued(), rig.outbox.syncs) == (False, ["hasty"], 1)
    rig.ledger.is_open.set()
    assert await patient is RewardStatus.accepted


async def test_a_caller_in_a_hurry_pauses_sql_for_nobody() -> None:
    rig = Rig()
    first, hasty = rig.report("first"), rig.report("hasty", seconds=0.001)
    await hasty
    rig.ledger.is_open.set()
    await first

    assert await rig.report("next") is RewardStatus.accepted


async def test_a_reward_that_is_queued_and_committed_is_one_in_the_ledger() -> None:
    rig = Rig()
    first, hasty = rig.report("first"), rig.report("hasty", seconds=0.001)
    assert await hasty is RewardStatus.queued
    rig.ledger.is_open.set()
    await first

    drained = await rig.ledger.append(
        [], [record for record in rig.outbox.records if type(record) is Reward]
    )
    assert drained.rewards == (RewardStatus.duplicate,)


async def test_who_is_queued_while_waiting_for_its_turn_is_not_asked_of_sql() -> None:
    rig = Rig()
    first = rig.report("first")
    await rig.ledger.has_begun.wait()
    hasty, patient = rig.report("hasty", seconds=0.001), rig.report("patient")
    assert await hasty is RewardStatus.queued
    rig.ledger.is_open.set()
    await asyncio.gather(first, patient)

    assert rig.ledger.transactions == [1, 1]


async def test_callers_out_of_time_together_share_a_sync() -> None:
    rig = Rig()
    deadline = asyncio.get_running_loop().time() + 0.2
    rewards = [msgspec.structs.replace(REWARD, event_id=str(number)) for number in range(1_200)]
    hasty = [rig.recorder.enqueue(each, deadline) for each in rewards]
    await asyncio.gather(*hasty)

    assert sorted(map(int, rig.queued())) == list(range(1_200))
    assert rig.outbox.syncs == 1


async def test_whoever_has_more_time_is_queued_at_its_own_end() -> None:
    rig = Rig()
    later, sooner = rig.report("later", seconds=0.3), rig.report("sooner", seconds=0.001)
    await sooner

    assert not later.done()
    assert await later is RewardStatus.queued


async def test_without_an_outbox_a_caller_in_a_hurry_waits_for_sql() -> None:
    rig = Rig()
    rig.outbox.is_full = True
    hasty = rig.report("hasty", seconds=0.001)
    await asyncio.sleep(0.05)

    assert not hasty.done()
    rig.ledger.is_open.set()
    assert await hasty is RewardStatus.accepted


async def test_a_caller_who_is_answered_in_time_is_not_queued() -> None:
    rig = Rig()
    rig.ledger.is_open.set()

    assert await rig.report("hasty", seconds=0.15) is RewardStatus.accepted
    await asyncio.sleep(0.2)
    assert rig.queued() == []


async def test_a_clock_set_ahead_queues_nobody() -> None:
    rig = Rig()
    rig.ledger.is_open.set()
    reported = rig.report("first")
    rig.clock.skew_ms = HOUR_MS  # Before its transaction begins.

    assert await reported is RewardStatus.accepted
