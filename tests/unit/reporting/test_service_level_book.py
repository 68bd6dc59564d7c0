"""Counts of answers reach the shared store once each, and wait while it is away."""

from __future__ import annotations

import pytest

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.domain.service_levels import Counts, LevelFlush
from service.errors import LedgerUnavailableError
from service.metrics import Metrics
from service.reporting.service_levels import ServiceLevels, WindowLevel
from service.store.memory_service_levels import MemoryServiceLevelStore
from tests.fakes import FrozenClock
from tests.level_books import book_of


class FailingStore(MemoryServiceLevelStore):
    """A store that can be away, or lose the answer of what it did."""

    is_away = False
    loses_answers = False
    read_ms = 0  # How much time all sums together were of.

    async def add(self, flush: LevelFlush) -> bool:
        """Add a flush, or fail before or after."""
        self._fail_if(self.is_away)
        added = await super().add(flush)
        self._fail_if(self.loses_answers)
        return added

    async def sums(self, span_ms: int, since_ms: int, until_ms: int | None = None) -> Counts:
        """Return sums, or fail."""
        self._fail_if(self.is_away or self.loses_answers)
        self.read_ms += (until_ms or since_ms + HOUR_MS) - since_ms
        return await super().sums(span_ms, since_ms, until_ms)

    def _fail_if(self, is_failing: bool) -> None:
        if is_failing:
            raise LedgerUnavailableError("SQL is unavailable")


class Process:
    """A process that answers requests of one route."""

    def __init__(self, store: FailingStore, clock: FrozenClock, name: str = "one") -> None:
        self.metrics = Metrics()
        self.book = book_of(self.metrics, clock, store, name)

    def answers(self, count: int, status: int = 200) -> None:
        """Count answers of a status."""
        for _ in range(count):
            self.metrics.requested("/reward", status, 0.001, "POST")

    async def window(self, name: str = "1h") -> WindowLevel:
        """Return what it says of a window."""
        return rewards(await self.book.answer(), name)

    async def fails_a_turn(self) -> None:
        """Take a turn while the store is away."""
        with pytest.raises(LedgerUnavailableError):
            await self.book.turn()


def rewards(levels: ServiceLevels, window: str) -> WindowLevel:
    return next(level for level in levels.routes if level.route == "POST /reward").windows[window]


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


async def test_any_process_answers_for_all_and_for_what_it_has_not_told_yet(
    store: FailingStore, clock: FrozenClock
) -> None:
    one, two = Process(store, clock), Process(store, clock, "two")
    one.answers(30)
    two.answers(9, 503)
    await one.book.turn()
    two_before = await one.window()
    await two.book.turn()
    two.answers(1)

    assert (two_before.requests, two_before.bad) == (30, 0)
    assert [(level.requests, level.bad) for level in (await one.window(), await two.window())] == [
        (39, 9),
        (40, 9),
    ]
    assert (await one.book.answer()).covers == "service"


async def test_windows_move_on(store: FailingStore, clock: FrozenClock) -> None:
    process = Process(store, clock)
    seen = []
    for step_ms in (0, HOUR_MS + MINUTE_MS, 30 * DAY_MS + HOUR_MS):
        clock.at_ms += step_ms
        process.answers(5)
        await process.book.turn()
        seen.append([(await process.window(name)).requests for name in ("1h", "30d")])

    assert seen == [[5, 5], [5, 10], [5, 5]]


async def test_a_month_is_read_rarely_and_yet_complete(
    store: FailingStore, clock: FrozenClock
) -> None:
    process, late = Process(store, clock), Process(store, clock, "late")
    for _ in range(4):
        process.answers(1)
        await process.book.turn()
        clock.at_ms += HOUR_MS
    late.answers(1)
    await late.book.answer()  # It tells the store of this hour only when the hour is over.
    clock.at_ms += HOUR_MS
    store.read_ms = 0
    for _ in range(60):
        process.answers(1)
        await process.book.turn()
        clock.at_ms += 1_000
    read_ms = store.read_ms
    await late.book.turn()

    assert read_ms < 40 * DAY_MS  # Once the month, and 60 times some hours.
    assert (await process.window("30d")).requests == 65


async def test_a_process_answers_for_itself_while_the_store_is_away(
    store: FailingStore, clock: FrozenClock
) -> None:
    one, two = Process(store, clock), Process(store, clock, "two")
    two.answers(7)
    await two.book.turn()
    one.answers(2)
    await one.book.turn()
    store.is_away = True
    one.answers(1)

    await one.fails_a_turn()

    levels = await one.book.answer()
    assert levels.covers == "process"
    assert [rewards(levels, name).requests for name in ("1h", "30d")] == [3, 3]
    store.is_away = False
    assert (await one.window()).requests == 10


@pytest.mark.parametrize("failure", ["is_away", "loses_answers"])
async def test_what_was_not_told_or_perhaps_told_is_counted_once(
    store: FailingStore, clock: FrozenClock, failure: str
) -> None:
    process = Process(store, clock)
    setattr(store, failure, True)
    for _ in range(3):
        process.answers(4)
        await process.fails_a_turn()
    setattr(store, failure, False)

    await process.book.turn()

    assert sum((await store.sums(HOUR_MS, 0)).values()) == 12
    assert (await process.window()).requests == 12


async def test_what_waits_for_the_store_is_bounded(store: FailingStore, clock: FrozenClock) -> None:
    process = Process(store, clock)
    store.is_away = True
    for _ in range(5 * 60):
        process.answers(1)
        await process.fails_a_turn()
        clock.at_ms += MINUTE_MS

    spans = [cell.span_ms for cell in process.book._pending]
    assert (spans.count(MINUTE_MS) <= 121, spans.count(HOUR_MS) <= 6) == (True, True)
    assert len(process.book.own._cells) <= len(spans) + 2  # type: ignore[attr-defined]
    store.is_away = False
    assert (await process.window("30d")).requests == 300


async def test_the_last_counts_are_told_at_the_end(store: FailingStore, clock: FrozenClock) -> None:
    process = Process(store, clock)
    process.answers(3)

    await process.book.close()

    assert sum((await store.sums(MINUTE_MS, 0)).values()) == 3


async def test_old_rows_are_forgotten(store: FailingStore, clock: FrozenClock) -> None:
    process = Process(store, clock)
    seen = []
    for days in (0, 1, 32):
        clock.at_ms += days * DAY_MS
        process.answers(1)
        await process.book.turn()
        seen.append([len(await store.sums(span, 0)) for span in (MINUTE_MS, HOUR_MS)])
        seen[-1] += [sum((await store.sums(span, 0)).values()) for span in (MINUTE_MS, HOUR_MS)]

    assert seen == [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 1, 1]]


async def test_a_turn_shows_the_levels_as_metrics(store: FailingStore, clock: FrozenClock) -> None:
    process = Process(store, clock)
    process.metrics.service_levels.promise()
    process.answers(990)
    process.answers(10, 500)

    await process.book.turn()

    def shown(name: str, **labels: str) -> float | None:
        route = labels.pop("route", "POST /reward")
        sample = process.metrics.registry.get_sample_value
        return sample(f"promobandit_sla_{name}", {"route": route, **labels})

    assert shown("objective_ratio") == 0.999
    assert shown("threshold_seconds") == 0.5
    assert shown("good_ratio", window="1h") == 0.99
    assert shown("error_budget_left_ratio", window="30d") == -9.0
    assert shown("latency_seconds", quantile="0.99") == pytest.approx(0.001, rel=0.1)
    assert (shown("met"), shown("met", route="reports")) == (0, 1)
    assert str(shown("latency_seconds", route="reports", quantile="0.5")) == "nan"
