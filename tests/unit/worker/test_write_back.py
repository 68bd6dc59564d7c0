"""Answers given without Redis are told to it afterwards, as the ledger has them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.decision import Decision, Source, replay_of
from service.domain.limits import NONCE_MARK
from service.store.memory_ledger import MemoryLedger
from service.store.memory_redis import MemoryOutbox, MemoryReplays
from service.store.records import OutboxPosition
from service.worker.drain import Drain
from service.worker.write_back import WriteBack
from tests.worker_rig import Rig, an_experiment

HELD_MAX = 1_500


class Outage:
    """A drain and the Redis that was away while it was answered."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.outbox = MemoryOutbox()
        self.replays = MemoryReplays()
        self.start()

    def start(self) -> None:
        """Start a worker, which knows nothing of the one before."""
        rig = self.rig
        self.write_back = WriteBack(
            self.replays, rig.ledger, rig.published, rig.clock, rig.metrics, HELD_MAX
        )
        self.drain = Drain(
            self.outbox,
            self.rig.ledger,
            self.rig.clock,
            self.rig.metrics,
            committed=self.write_back.note,
        )

    async def fall_back(self, count: int) -> list[Decision]:
        """Answer without Redis."""
        experiment = await self.rig.create(an_experiment(f"spring-{self.rig.serial}"))
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
            self.rig.clock.at_ms += 1

    def go_away(self) -> None:
        """Take Redis away."""
        self.replays.is_down = self.rig.published.is_down = True

    def come_back(self) -> None:
        """Bring it back with the memory it had."""
        self.replays.is_down = self.rig.published.is_down = False


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def test_fallback_answers_are_replayed_later(outage: Outage) -> None:
    await outage.settle()
    decisions = await outage.fall_back(1_200)

    await outage.settle()

    assert outage.remembered() == {d.key: replay_of(d) for d in decisions}
    metric = outage.rig.metrics.registry.get_sample_value
    assert metric("promobandit_written_back_decisions_total") == 1_200


async def test_while_redis_is_away_they_stay_owed(outage: Outage) -> None:
    decisions = await outage.fall_back(3)
    outage.go_away()
    await outage.settle()
    assert outage.remembered() == {}

    outage.come_back()
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
    await outage.settle()
    confirmed, without_occasion = await outage.fall_back(2)
    outage.outbox.records = [
        replace(confirmed, source=int(Source.policy)),
        replace(without_occasion, occasion=NONCE_MARK + "1"),
    ]

    await outage.settle()

    assert outage.remembered() == {}


async def test_more_than_memory_holds_is_read_from_the_ledger(outage: Outage) -> None:
    decisions = await outage.fall_back(HELD_MAX + 700)
    outage.go_away()
    await outage.settle()
    outage.come_back()

    await outage.settle()

    assert len(outage.remembered()) == len(decisions)


async def test_a_worker_that_was_killed_leaves_no_answer_untold(outage: Outage) -> None:
    decisions = await outage.fall_back(5_000)
    inactive = replace(decisions[0], source=int(Source.inactive))
    outage.outbox.records[0] = decisions[0] = inactive
    outage.go_away()
    await outage.settle()

    outage.start()
    outage.come_back()
    await outage.settle()

    assert outage.remembered() == {d.key: replay_of(d) for d in decisions}


async def test_a_commit_whose_answer_was_lost_is_told_too(outage: Outage) -> None:
    await outage.settle()  # What it looks up when it starts is looked up.
    decisions = await outage.fall_back(3)
    await outage.rig.ledger.append(decisions, [], OutboxPosition("memory", 3, 0))

    await outage.settle()

    assert outage.remembered() == {d.key: replay_of(d) for d in decisions}


async def test_inactive_answers_are_told_as_well(outage: Outage) -> None:
    (decision,) = await outage.fall_back(1)
    decision = replace(decision, source=int(Source.inactive))
    outage.outbox.records = [decision]

    await outage.settle()

    assert outage.remembered() == {decision.key: replay_of(decision)}


async def test_an_answer_of_before_a_loss_is_told_whenever_it_is_committed(
    outage: Outage,
) -> None:
    await outage.settle()
    confirmed = replace((await outage.fall_back(1))[0], source=int(Source.policy))
    outage.outbox.records = []
    outage.rig.clock.at_ms += HOUR_MS
    await outage.rig.published.begin_epoch("after the loss")
    await outage.settle()

    outage.outbox.records = [confirmed]
    await outage.settle()

    assert outage.remembered() == {confirmed.key: replay_of(confirmed)}


async def test_a_loss_that_was_not_seen_yet_makes_what_is_committed_doubtful(
    outage: Outage,
) -> None:
    await outage.settle()
    confirmed = replace((await outage.fall_back(1))[0], source=int(Source.policy))
    outage.outbox.records = [confirmed]
    await outage.rig.published.begin_epoch("after the loss")
    await outage.drain.turn()
    outage.go_away()
    await outage.write_back.turn()

    outage.come_back()
    await outage.settle()

    assert outage.remembered() == {confirmed.key: replay_of(confirmed)}


class CountingLedger(MemoryLedger):
    """Counts how often it is asked for first answers."""

    asked = 0

    async def first_decisions(self, keys: Sequence[bytes]) -> list[Decision]:
        """Answer, and count."""
        self.asked += 1
        return await super().first_decisions(keys)


async def test_while_redis_is_away_sql_is_not_asked(outage: Outage) -> None:
    ledger = outage.rig.ledger = CountingLedger()
    outage.start()
    (first,) = await outage.fall_back(1)
    await ledger.append([replace(first, variant=2)], [])
    outage.go_away()

    await outage.settle()

    assert outage.write_back.owes
    assert ledger.asked == 0


async def test_nothing_of_a_unit_or_its_context_is_held(outage: Outage) -> None:
    (decision,) = await outage.fall_back(1)
    outage.outbox.records = [replace(decision, context=b"{}" * 2_000)]
    outage.go_away()

    await outage.settle()

    (held,) = outage.write_back._owed.values()
    assert held is not None
    assert (held.unit, held.occasion, held.context) == ("", "", None)
