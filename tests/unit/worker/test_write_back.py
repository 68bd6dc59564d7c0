"""Answers given without Redis are told to it afterwards, as the ledger has them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.domain.clock import DAY_MS
from service.domain.decision import Decision, Source, replay_of
from service.domain.limits import NONCE_MARK
from service.store.memory_redis import MemoryOutbox, MemoryReplays
from service.worker.drain import Drain
from service.worker.write_back import WriteBack
from tests.worker_rig import Rig

HELD_MAX = 1_500


class Outage:
    """A drain and the Redis that was away while it was answered."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.outbox = MemoryOutbox()
        self.replays = MemoryReplays()
        self.write_back = WriteBack(self.replays, self.rig.ledger, self.rig.metrics, HELD_MAX)
        self.drain = Drain(
            self.outbox,
            self.rig.ledger,
            self.rig.clock,
            self.rig.metrics,
            committed=self.write_back.note,
        )

    async def fall_back(self, count: int) -> list[Decision]:
        """Answer without Redis."""
        experiment = await self.rig.create()
        decisions = [
            replace(self.rig.decision(experiment, 0), source=int(Source.fallback))
            for _ in range(count)
        ]
        self.outbox.append(decisions)
        return decisions

    def remembered(self) -> dict[bytes, bytes]:
        """Return what Redis would replay now."""
        return self.replays.generations.get(self.rig.clock.now_ms() // DAY_MS, {})

    async def settle(self) -> None:
        """Drain and write back until nothing moves."""
        while await self.drain.turn() or await self.write_back.turn():
            pass


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def test_fallback_answers_are_replayed_later(outage: Outage) -> None:
    decisions = await outage.fall_back(1_200)

    await outage.settle()

    assert outage.remembered() == {d.key: replay_of(d) for d in decisions}
    metric = outage.rig.metrics.registry.get_sample_value
    assert metric("promobandit_written_back_decisions_total") == 1_200


async def test_while_redis_is_away_they_stay_owed(outage: Outage) -> None:
    decisions = await outage.fall_back(3)
    outage.replays.is_down = True
    await outage.settle()
    assert outage.remembered() == {}

    outage.replays.is_down = False
    await outage.settle()

    assert outage.remembered() == {d.key: replay_of(d) for d in decisions}


async def test_where_two_answers_differ_the_one_that_counts_is_replayed(outage: Outage) -> None:
    (first,) = await outage.fall_back(1)
    other = replace(first, variant=2, decided_at_ms=first.decided_at_ms + 1)
    await outage.rig.ledger.append([first], [])
    outage.outbox.records = [other]

    await outage.settle()

    assert outage.remembered() == {first.key: replay_of(first)}


async def test_answers_that_never_asked_redis_or_had_its_word_are_left_alone(
    outage: Outage,
) -> None:
    confirmed, without_occasion = await outage.fall_back(2)
    outage.outbox.records = [
        replace(confirmed, source=int(Source.policy)),
        replace(without_occasion, occasion=NONCE_MARK + "1"),
    ]

    await outage.settle()

    assert outage.remembered() == {}


async def test_more_than_memory_holds_is_read_from_the_ledger(outage: Outage) -> None:
    decisions = await outage.fall_back(HELD_MAX + 700)
    outage.replays.is_down = True
    await outage.settle()
    outage.replays.is_down = False

    await outage.settle()

    assert len(outage.remembered()) == len(decisions)
