"""The drain commits every record once, puts poison aside and waits while SQL is down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from service.domain.decision import Decision
from service.domain.reward import Reward
from service.errors import LedgerUnavailableError, PoisonRecordError
from service.store.memory_ledger import MemoryLedger
from service.store.memory_redis import MemoryOutbox
from service.store.records import Chunk, LedgerOutcome, OutboxPosition, Segment
from service.worker.drain import Drain
from service.worker.progress import BATCH_MAX
from tests.worker_rig import Rig

POISON = "poison"


class TroubledLedger(MemoryLedger):
    """A ledger that refuses poisoned units, is down, or dies after a commit, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.dies_after_commit = False
        self.transactions = 0

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Do as told, else as the memory ledger does."""
        if self.is_down:
            raise LedgerUnavailableError("SQL is down")
        if any(decision.unit == POISON for decision in decisions):
            raise PoisonRecordError("a poisoned unit")
        self.transactions += 1
        outcome = await super().append(decisions, rewards, position)
        if self.dies_after_commit:
            raise LedgerUnavailableError("killed before the answer")
        return outcome


class Drained:
    """A drain over a memory outbox."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.outbox = MemoryOutbox()
        self.ledger = TroubledLedger()

    def drain(self) -> Drain:
        """Make a drain, as of one process."""
        return Drain(self.outbox, self.ledger, self.rig.clock, self.rig.metrics)

    def metric(self, name: str, **labels: str) -> float | None:
        """Read a metric."""
        return self.rig.metrics.registry.get_sample_value(f"promobandit_{name}", labels)

    async def fill(self, count: int) -> list[Decision]:
        """Append so many decisions."""
        experiment = await self.rig.create()
        decisions = [self.rig.decision(experiment, 0) for _ in range(count)]
        self.outbox.append(decisions)
        return decisions

    async def pulls(self) -> int:
        """Count what the ledger holds."""
        change = await self.ledger.evidence(1)
        return sum(bucket.pulls for bucket in change.buckets)


@pytest.fixture
def drained() -> Drained:
    return Drained()


async def test_records_come_into_the_ledger_in_batches(drained: Drained) -> None:
    decisions = await drained.fill(BATCH_MAX + 5)
    drained.outbox.append([drained.rig.reward(decisions[0])])
    drain = drained.drain()

    assert [await drain.turn() for _ in range(3)] == [BATCH_MAX, 6, 0]

    assert await drained.pulls() == BATCH_MAX + 5
    assert drained.metric("drained_records_total", kind="reward") == 1
    assert await drained.ledger.position("memory") == BATCH_MAX + 6


async def test_another_drain_goes_on_where_the_first_one_committed(drained: Drained) -> None:
    await drained.fill(10)
    await drained.drain().turn()

    assert await drained.drain().turn() == 0
    assert await drained.pulls() == 10


async def test_a_drain_killed_after_its_commit_counts_nothing_twice(drained: Drained) -> None:
    await drained.fill(10)
    drained.ledger.dies_after_commit = True
    with pytest.raises(LedgerUnavailableError):
        await drained.drain().turn()
    drained.ledger.dies_after_commit = False

    await drained.drain().turn()

    assert await drained.pulls() == 10


async def test_while_sql_is_down_nothing_is_lost_and_nothing_moves(drained: Drained) -> None:
    await drained.fill(10)
    drain = drained.drain()
    await drain.turn()
    drained.outbox.append([replace(r, key=b"k" * 16) for r in drained.outbox.records[:1]])
    drained.ledger.is_down = True
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError):
            await drain.turn()

    drained.ledger.is_down = False
    await drain.turn()

    assert await drained.pulls() == 11
    assert drained.metric("ledger_failures_total") == 2


@pytest.mark.parametrize("place", [0, 1, 500, 999, 1_003])
async def test_only_the_poisoned_record_is_put_aside(drained: Drained, place: int) -> None:
    decisions = await drained.fill(BATCH_MAX + 4)
    drained.outbox.records[place] = replace(decisions[place], unit=POISON)
    drain = drained.drain()

    while await drain.turn():
        pass

    assert [record for record, _ in drained.outbox.quarantined] == [drained.outbox.records[place]]
    assert await drained.pulls() == BATCH_MAX + 3
    assert drained.metric("quarantined_records_total") == 1
    assert drained.ledger.transactions < 40  # Halving, not one by one.


async def test_the_backlog_is_told_to_the_metrics(drained: Drained) -> None:
    await drained.fill(3)
    drain = drained.drain()
    drain.measure()
    assert drained.metric("outbox_bytes") == 3  # The memory outbox counts records.

    await drain.turn()
    drain.measure()
    assert drained.metric("outbox_bytes") == 0


async def test_differing_answers_of_one_key_are_counted(drained: Drained) -> None:
    (decision,) = await drained.fill(1)
    drained.outbox.append([replace(decision, variant=2)])

    await drained.drain().turn()

    assert drained.metric("conflicting_answers_total") == 1
    assert await drained.pulls() == 1


class BadSector(MemoryOutbox):
    """An outbox whose first segment cannot be read."""

    def segments(self) -> list[Segment]:
        """Return the unreadable segment and the sound one."""
        return [Segment("bad", is_closed=True, modified_at_ms=0), *super().segments()]

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Read, or fail as a disk does."""
        if segment.name == "bad":
            raise OSError("input/output error")
        return super().read(segment, offset, count)


async def test_a_segment_that_cannot_be_read_does_not_stop_the_others(drained: Drained) -> None:
    drained.outbox = BadSector()
    await drained.fill(10)
    drain = drained.drain()

    assert await drain.turn() == 10

    assert await drained.pulls() == 10
    with pytest.raises(OSError, match="input/output"):
        await drain.turn()
