"""An erasure acts at once, acts again ever more seldom, and ends when nothing can come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from service.domain.erasure import Erasure
from service.metrics import Metrics
from service.privacy import Eraser, Erasures, Quarantines, Retention
from service.privacy.eraser import GIVE_UP_MS, SETTLED_MS
from service.privacy.retention import BATCH_MAX
from service.store.memory_access import MemoryActStore
from service.store.memory_ledger import MemoryLedger
from service.store.memory_privacy import MemoryErasureStore, MemoryRetentionStore
from service.store.memory_redis import MemoryOutbox
from service.store.records import OutboxPosition, Segment
from tests.store_records import NOW_MS, HandClock, a_decision


class Segments(MemoryOutbox):
    """An outbox whose directory is said by the test."""

    names: tuple[str, ...] = ()

    def segments(self) -> list[Segment]:
        """Return what the test says."""
        return [Segment(name, is_closed=True, modified_at_ms=0) for name in self.names]


class CountedQuarantine:
    """Notes which units it was told to forget, and from when on files were kept."""

    def __init__(self) -> None:
        self.units: list[str] = []
        self.kept_from_ms: int | None = None

    def erase(self, erasures: Sequence[Erasure]) -> int:
        """Note the units."""
        self.units += [erasure.unit for erasure in erasures]
        return 0

    def expire(self, before_ms: int) -> int:
        """Note the time."""
        self.kept_from_ms = before_ms
        return 0


class Leaky(MemoryErasureStore):
    """A database whose files somebody reads just now, as often as the test says."""

    readings = 0
    passes = 0

    async def erase(self, erasures: Sequence[Erasure]) -> int:
        """Count the passes over the ledger."""
        self.passes += 1
        return await super().erase(erasures)

    async def scrub(self) -> bool:
        """Fail while somebody reads."""
        self.readings -= 1
        return self.readings < 0


@dataclass
class Rig:
    """An eraser over memory."""

    clock: HandClock = field(default_factory=HandClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    outbox: Segments = field(default_factory=Segments)
    quarantine: CountedQuarantine = field(default_factory=CountedQuarantine)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.acts = MemoryActStore()
        self.store = Leaky(self.ledger, self.acts)
        self.eraser = self.restarted()
        self.erasures = Erasures(store=self.store, make_id=lambda: "a" * 32, clock=self.clock)

    def restarted(self) -> Eraser:
        """Return the eraser of a worker that has just started."""
        return Eraser(self.store, self.outbox, self.quarantine, self.clock, self.metrics)

    async def after(self, milliseconds: int) -> Erasure:
        """Let time pass, and the eraser take its turn; return the request."""
        self.clock.at_ms += milliseconds
        await self.eraser.turn()
        return await self.store.get(1, "a" * 32)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"promobandit_{name}", labels)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_the_first_turn_wipes_what_the_ledger_has(rig: Rig) -> None:
    await rig.ledger.append([a_decision(1), a_decision(2)], [])
    await rig.erasures.request(1, "unit-1", "ada")

    erasure = await rig.after(0)

    rows, _ = await rig.ledger.rows(7, None, 9)
    assert {row.decision.unit for row in rows} == {"", "unit-2"}
    assert (erasure.rows, erasure.done_at_ms) == (1, None)
    assert rig.quarantine.units == ["unit-1"]
    assert rig.sample("erasures_pending") == 1
    assert rig.sample("rows_wiped_total", reason="erasure") == 1


async def test_the_act_names_the_request_and_not_the_unit(rig: Rig) -> None:
    await rig.erasures.request(1, "unit-1", "ada")

    (act,) = await rig.acts.of_tenant(1, 9)

    assert (act.actor, act.action, act.subject, act.detail) == ("ada", "erase unit", "a" * 32, {})


async def test_it_is_done_once_all_segments_of_then_are_gone(rig: Rig) -> None:
    rig.outbox.names = ("1.seg",)
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)
    rig.outbox.names = ("1.seg", "2.seg")
    await rig.after(2 * HOUR_MS)
    assert (await rig.after(SECOND_MS)).done_at_ms is None
    rig.outbox.names = ("2.seg",)

    erasure = await rig.after(SECOND_MS)

    assert (erasure.unit, erasure.done_at_ms) == ("", rig.clock.now_ms())
    await rig.after(SECOND_MS)
    assert rig.sample("erasures_pending") == 0


async def test_what_the_outbox_brings_late_is_wiped_before_it_is_done(rig: Rig) -> None:
    rig.outbox.names = ("1.seg",)
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)
    await rig.after(SETTLED_MS)
    await rig.ledger.append([a_decision(1)], [])
    rig.outbox.names = ()

    erasure = await rig.after(1)

    assert (erasure.rows, erasure.done_at_ms) == (1, rig.clock.now_ms())


async def test_segments_of_other_machines_are_waited_for_too(rig: Rig) -> None:
    await rig.ledger.append([], [], OutboxPosition("far.seg", 9))
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)

    waiting = await rig.after(SETTLED_MS)
    await rig.ledger.forget_segment("far.seg")
    done = await rig.after(1)

    assert (waiting.segments, waiting.done_at_ms) == (("far.seg",), None)
    assert done.done_at_ms is not None


async def test_a_segment_that_shows_up_in_the_first_minute_is_waited_for(rig: Rig) -> None:
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)
    rig.outbox.names = ("late.seg",)

    await rig.after(SETTLED_MS - 1)

    assert (await rig.after(HOUR_MS)).segments == ("late.seg",)
    assert (await rig.after(HOUR_MS)).done_at_ms is None


async def test_passes_over_the_ledger_become_seldom(rig: Rig) -> None:
    rig.outbox.names = ("1.seg",)
    await rig.erasures.request(1, "unit-1", "ada")
    for _ in range(2 * HOUR_MS // SECOND_MS):
        await rig.after(SECOND_MS)

    assert 10 < rig.store.passes < 25


async def test_nobody_waits_for_ever_for_a_machine_that_is_gone(rig: Rig) -> None:
    rig.outbox.names = ("lost.seg",)
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)
    assert (await rig.after(GIVE_UP_MS)).done_at_ms is None

    assert (await rig.after(MINUTE_MS)).done_at_ms is not None


async def test_it_is_not_done_while_the_database_still_holds_old_pages(rig: Rig) -> None:
    rig.store.readings = 2
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)

    states = [(await rig.after(SETTLED_MS)).done_at_ms is None for _ in range(3)]

    assert states == [True, True, False]


async def test_a_worker_that_restarts_goes_on(rig: Rig) -> None:
    rig.outbox.names = ("1.seg",)
    await rig.erasures.request(1, "unit-1", "ada")
    await rig.after(0)
    rig.eraser = rig.restarted()
    rig.outbox.names = ()

    await rig.after(SECOND_MS)

    assert (await rig.after(SETTLED_MS)).done_at_ms is not None


async def test_every_worker_cleans_the_quarantine_of_its_own_outbox(rig: Rig) -> None:
    quarantines = Quarantines(rig.store, rig.quarantine, rig.clock, 30)
    await rig.erasures.request(1, "unit-1", "ada")

    await quarantines.turn()

    assert rig.quarantine.units == ["unit-1"]
    assert rig.quarantine.kept_from_ms == NOW_MS - 30 * DAY_MS


async def test_without_a_retention_nothing_expires(rig: Rig) -> None:
    await rig.ledger.append([a_decision(1, at_ms=1)], [])
    retention = Retention(MemoryRetentionStore(rig.ledger), rig.clock, rig.metrics, None)

    assert not await retention.turn()

    rows, _ = await rig.ledger.rows(7, None, 9)
    assert rows[0].decision.unit == "unit-1"


async def test_the_retention_wipes_batch_by_batch_what_is_too_old(rig: Rig) -> None:
    old_ms = NOW_MS - 3 * DAY_MS - 1
    await rig.ledger.append([a_decision(n, at_ms=old_ms) for n in range(BATCH_MAX + 1)], [])
    await rig.ledger.append([a_decision(5_000, at_ms=old_ms + 1)], [])
    retention = Retention(MemoryRetentionStore(rig.ledger), rig.clock, rig.metrics, 3)

    has_more = [await retention.turn() for _ in range(2)]

    rows, _ = await rig.ledger.rows(7, None, 5_000)
    assert has_more == [True, False]
    assert [row.decision.unit for row in rows if row.decision.unit] == ["unit-5000"]
    assert rig.sample("rows_wiped_total", reason="retention") == BATCH_MAX + 1


async def test_the_retention_looks_once_a_day_for_what_came_late(rig: Rig) -> None:
    retention = Retention(MemoryRetentionStore(rig.ledger), rig.clock, rig.metrics, 3)
    await retention.turn()
    await rig.ledger.append([a_decision(1, at_ms=NOW_MS - 4 * DAY_MS)], [])
    await retention.turn()
    rows, _ = await rig.ledger.rows(7, None, 9)
    assert rows[0].decision.unit == "unit-1"
    rig.clock.at_ms += DAY_MS

    await retention.turn()

    rows, _ = await rig.ledger.rows(7, None, 9)
    assert rows[0].decision.unit == ""
