"""A ledger that fails over to an older state is given again what it lost, each record once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from service.allocations import EvidenceCache
from service.domain.clock import HOUR_MS, SECOND_MS
from service.domain.decision import Decision
from service.domain.reward import Reward
from service.store.memory_ledger import MemoryLedger
from service.store.memory_redis import MemoryOutbox
from service.store.outbox import SegmentOutbox
from service.store.outbox_reader import SegmentReader
from service.store.records import LedgerOutcome, OutboxPosition
from service.worker.drain import Drain
from tests.store_records import HandClock
from tests.worker_rig import Rig


class LedgerThatGoesBack(MemoryLedger):
    """A ledger whose state can be kept and put in place again; it counts what the drain asks."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.asked: list[tuple[int, int]] = []

    def state(self) -> dict[str, Any]:
        """Return a copy of everything."""
        return deepcopy({name: it for name, it in self.__dict__.items() if name != "_now_ms"})

    def go_back(self, state: dict[str, Any]) -> None:
        """Put an older state in place."""
        self.__dict__.update(deepcopy(state))

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Append, and note how much."""
        if position is not None:
            self.asked.append((len(decisions), len(rewards)))
        return await super().append(decisions, rewards, position)


class Lost:
    """One experiment whose decisions and rewards come as a running service sends them."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.outbox = MemoryOutbox()
        self.ledger = LedgerThatGoesBack(self.rig.clock)
        self.drain = Drain(self.outbox, self.ledger, self.rig.clock, self.rig.metrics)
        self.told: list[Reward] = []

    async def choose(self, count: int) -> list[Decision]:
        """Answer choices: they are in the outbox."""
        if not await self.rig.experiments.all():
            await self.rig.create()
        (experiment,) = await self.rig.experiments.all()
        decisions = [self.rig.decision(experiment, 0) for _ in range(count)]
        self.outbox.append(decisions)
        return decisions

    async def reward(self, decisions: Sequence[Decision]) -> None:
        """Answer rewards: they are in SQL, then in the outbox."""
        self.rig.clock.at_ms += 1
        rewards = [self.rig.reward(decision) for decision in decisions]
        await self.ledger.append([], rewards)
        self.outbox.append(rewards, committed=len(rewards))
        self.told += rewards

    async def settle(self) -> None:
        """Let the drain do all it wants to do in some seconds."""
        for _ in range(6):
            while await self.drain.turn():
                pass
            self.rig.clock.at_ms += SECOND_MS

    async def counted(self) -> tuple[int, int]:
        """Return pulls and conversions, after a recount."""
        assert await self.ledger.recount(1) == []
        buckets = (await self.ledger.evidence(1)).buckets
        return sum(b.pulls for b in buckets), sum(b.conversions for b in buckets)

    def went_back(self) -> float | None:
        """Read the metric."""
        return self.rig.metrics.registry.get_sample_value("promobandit_ledger_went_back_total")


@pytest.fixture
def lost() -> Lost:
    return Lost()


async def test_rewards_that_sql_has_are_not_given_again(lost: Lost) -> None:
    decisions = await lost.choose(30)
    await lost.reward(decisions[:10])
    await lost.reward(decisions[10:20])

    await lost.settle()

    assert lost.ledger.asked == [(30, 0)]
    assert await lost.counted() == (30, 20)
    assert await lost.ledger.position("memory") == 50


async def test_what_sql_has_is_passed_over_with_at_most_a_transaction_a_second(
    lost: Lost,
) -> None:
    decisions = await lost.choose(40)
    await lost.settle()
    lost.ledger.asked.clear()

    for decision in decisions:
        await lost.reward([decision])
        await lost.drain.turn()
    assert lost.ledger.asked == []

    lost.rig.clock.at_ms += SECOND_MS
    await lost.drain.turn()
    assert lost.ledger.asked == [(0, 0)]
    assert await lost.ledger.position("memory") == 80


@pytest.mark.parametrize("is_drained", [True, False])
@pytest.mark.parametrize("is_overtaken", [True, False])
async def test_everything_lost_comes_back_once(
    lost: Lost, is_drained: bool, is_overtaken: bool
) -> None:
    decisions = await lost.choose(20)
    await lost.reward(decisions[:5])
    await lost.settle()
    older = lost.ledger.state()
    more = await lost.choose(20)
    await lost.reward(decisions[5:10])
    await lost.reward(more[:7])
    await (lost.settle() if is_drained else lost.drain.turn())

    lost.ledger.go_back(older)
    if is_overtaken:
        await lost.reward(await lost.choose(10))
    await lost.settle()

    extra = 10 if is_overtaken else 0
    assert await lost.counted() == (40 + extra, 17 + extra)
    assert lost.went_back()


async def test_a_reward_lost_before_the_drain_saw_it_comes_back(lost: Lost) -> None:
    decisions = await lost.choose(20)
    await lost.settle()
    older = lost.ledger.state()
    await lost.reward(decisions[:3])
    lost.ledger.go_back(older)  # The position never moved, so nothing but the rewards can tell.
    await lost.reward(decisions[3:5])

    await lost.settle()

    assert await lost.counted() == (20, 5)


async def test_a_worker_that_starts_after_the_loss_finds_it_too(lost: Lost) -> None:
    decisions = await lost.choose(20)
    await lost.settle()
    older = lost.ledger.state()
    await lost.reward(decisions[:8])
    await lost.settle()

    lost.ledger.go_back(older)
    lost.drain = Drain(lost.outbox, lost.ledger, lost.rig.clock, lost.rig.metrics)
    await lost.settle()

    assert await lost.counted() == (20, 8)


@pytest.mark.parametrize("batch", [1, 3, 10])
async def test_transactions_that_lie_across_two_reads_come_back_whole(
    lost: Lost, batch: int
) -> None:
    decisions = await lost.choose(1_200)
    older = lost.ledger.state()
    for start in range(0, 1_200, 700):
        await lost.reward(decisions[start : start + 700])
    lost.ledger.go_back(older)
    await lost.reward(decisions[:batch])  # Some were told again meanwhile, by another process.

    await lost.settle()

    assert await lost.counted() == (1_200, 1_200)


async def test_holders_of_evidence_see_that_it_is_lost_as_a_whole(lost: Lost) -> None:
    older = lost.ledger.state()
    await lost.choose(20)
    await lost.settle()
    held = EvidenceCache(lost.ledger)
    assert (await held.current(1)).totals[0].pulls == 20

    lost.ledger.go_back(older)
    lost.outbox.records[5:] = []  # The rest was on a machine that is gone.
    await lost.settle()

    assert (await held.current(1)).totals[0].pulls == 5


async def test_holders_of_evidence_see_that_it_is_of_another_state(lost: Lost) -> None:
    await lost.choose(20)
    await lost.settle()
    held = EvidenceCache(lost.ledger)
    older = lost.ledger.state()
    decisions = await lost.choose(3)
    await lost.settle()
    assert (await held.current(1)).totals[0].pulls == 23

    lost.ledger.go_back(older)
    for _ in range(5):  # Past the revision that was held, before anybody looked.
        await lost.ledger.append([lost.rig.decision((await lost.rig.experiments.all())[0], 1)], [])
    await lost.settle()

    totals = (await held.current(1)).totals
    assert (totals[0].pulls, totals[1].pulls) == (20 + len(decisions), 5)


async def test_a_segment_that_was_finished_long_since_is_read_again(
    lost: Lost, tmp_path: Path
) -> None:
    outbox = SegmentOutbox(tmp_path, lost.rig.clock)
    reader = SegmentReader(tmp_path, lost.rig.clock)
    lost.drain = Drain(reader, lost.ledger, lost.rig.clock, lost.rig.metrics)
    older = lost.ledger.state()
    decisions = await lost.choose(20)
    outbox.append(decisions)
    rewards = [lost.rig.reward(decision) for decision in decisions[:4]]
    await lost.ledger.append([], rewards)
    outbox.append(rewards, committed=4)
    outbox.close()
    await lost.settle()
    assert await lost.counted() == (20, 4)

    lost.ledger.go_back(older)
    lost.rig.clock.at_ms += 2 * HOUR_MS
    await lost.drain.clean()  # Its hour is over, but SQL has not what it is kept for.
    await lost.settle()

    assert await lost.counted() == (20, 4)
    assert lost.went_back()


async def test_two_workers_on_one_outbox_do_not_take_each_other_for_a_loss(lost: Lost) -> None:
    other = Drain(lost.outbox, lost.ledger, lost.rig.clock, lost.rig.metrics)
    for _ in range(5):
        decisions = await lost.choose(10)
        await lost.reward(decisions[:3])
        for drain in (lost.drain, other, lost.drain):
            await drain.turn()
    await lost.settle()

    assert await lost.counted() == (50, 15)
    assert lost.went_back() == 0
