"""A limit lets a key in while its bucket holds anything, and never forgets a debt."""

from __future__ import annotations

import pytest

from service.access import RateLimit
from service.errors import RateLimitedError
from tests.store_records import HandClock


def admitted(limit: RateLimit, calls: int) -> int:
    count = 0
    for _ in range(calls):
        try:
            limit.take(1)
        except RateLimitedError:
            continue
        count += 1
    return count


def test_a_second_of_the_rate_may_come_at_once_and_no_more() -> None:
    limit = RateLimit(50, HandClock())

    assert admitted(limit, 200) == 50


def test_in_the_long_run_the_rate_is_kept() -> None:
    clock = HandClock()
    limit = RateLimit(50, clock)
    admitted(limit, 50)

    total = 0
    for _ in range(1_000):  # 10 seconds, 4 times the rate.
        clock.at_ms += 10
        total += admitted(limit, 2)

    assert total == 500


def test_a_pause_saves_up_one_second_and_no_more() -> None:
    clock = HandClock()
    limit = RateLimit(50, clock)
    clock.at_ms += 3_600_000

    assert admitted(limit, 200) == 50


def test_a_batch_is_let_in_and_its_debt_is_waited_for() -> None:
    clock = HandClock()
    limit = RateLimit(100, clock)
    limit.take(10_000)

    with pytest.raises(RateLimitedError) as refused:
        limit.take(1)
    assert refused.value.retry_after_seconds == pytest.approx(99.01)

    clock.at_ms += 99_010
    limit.take(1)


def test_who_comes_back_when_told_to_is_let_in() -> None:
    clock = HandClock()
    limit = RateLimit(0.5, clock)  # One a second, shared out between two processes.
    limit.take(1)
    with pytest.raises(RateLimitedError) as refused:
        limit.take(1)

    clock.at_ms += round((refused.value.retry_after_seconds or 0) * 1000)

    limit.take(1)


def test_a_refused_call_costs_nothing() -> None:
    clock = HandClock()
    limit = RateLimit(10, clock)
    assert admitted(limit, 1_000) == 10

    clock.at_ms += 100

    assert admitted(limit, 2) == 1
