"""The limits on work in flight, and what they make of the event loop's lag."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.api.admission import Admission, Limit, Priority
from service.metrics import Metrics

CEILING, FLOOR = 100, 10


@pytest.fixture
def limit() -> Limit:
    return Limit(floor=FLOOR, ceiling=CEILING, seconds_max=0.1)


def test_there_is_room_up_to_the_ceiling_while_nothing_lags(limit: Limit) -> None:
    limit.in_flight = CEILING - 1
    limit.look(0.0, is_short=False)

    assert limit.has_room()


def test_there_is_no_room_once_all_places_are_taken(limit: Limit) -> None:
    limit.in_flight = CEILING

    assert not limit.has_room()


def test_one_lag_is_a_machine_that_stood_still(limit: Limit) -> None:
    limit.in_flight = 40
    limit.look(1.0, is_short=True)
    limit.look(0.0, is_short=False)
    limit.look(1.0, is_short=True)

    assert limit.places == CEILING


def test_lasting_lag_cuts_the_places_below_what_is_under_way(limit: Limit) -> None:
    limit.in_flight = 40
    limit.look(0.11, is_short=True)
    limit.look(0.11, is_short=True)

    assert limit.places == 30


def test_slow_answers_cut_the_places_while_the_processor_is_short(limit: Limit) -> None:
    limit.in_flight = 48
    limit.leave(8, 0.5)
    limit.look(0.01, is_short=True)

    assert limit.places == 30


def test_slow_answers_alone_are_not_the_processors_fault(limit: Limit) -> None:
    limit.in_flight = 48
    limit.leave(8, 0.5)
    limit.look(0.0, is_short=False)

    assert limit.places == CEILING


def test_the_next_cut_waits_for_what_was_let_in_before(limit: Limit) -> None:
    limit.in_flight = 48
    for _ in range(2):
        limit.leave(4, 0.5)
        limit.look(0.01, is_short=True)

    assert limit.places == 33


def test_lag_never_cuts_below_the_floor(limit: Limit) -> None:
    cut_to_the_floor(limit)

    assert limit.places == FLOOR


def test_places_come_back_within_a_second_used_or_not(limit: Limit) -> None:
    cut_to_the_floor(limit)
    for _ in range(50):  # A second, at 20 ms a look.
        limit.look(0.0, is_short=False)

    assert limit.places == CEILING


def test_the_largest_call_is_let_in_even_at_the_floor(limit: Limit) -> None:
    cut_to_the_floor(limit)

    assert limit.has_room(limit.weight(1_000_000))


def test_large_calls_leave_room_for_single_ones(limit: Limit) -> None:
    while limit.has_room(limit.weight(1_000_000)):
        limit.in_flight += limit.weight(1_000_000)

    assert limit.has_room()
    assert limit.in_flight >= CEILING // 2


def cut_to_the_floor(limit: Limit) -> None:
    for _ in range(100):
        limit.look(1.0, is_short=True)


def test_reports_give_way_before_choices_and_choices_before_rewards() -> None:
    limits = [Admission(Metrics().overload).limit(priority) for priority in Priority]
    patience = [limit.seconds_max for limit in limits]

    assert patience == sorted(patience, reverse=True)
    assert patience[Priority.REWARD] > patience[Priority.CHOOSE] > patience[Priority.REPORT]


def test_refusals_send_neighbours_back_at_different_times() -> None:
    admission = Admission(Metrics().overload)

    seconds = {admission.refuse(Priority.CHOOSE).retry_after_seconds for _ in range(3)}

    assert seconds == {1, 2, 3}


async def test_a_loop_that_is_held_up_cuts_the_places() -> None:
    admission = Admission(Metrics().overload)
    choices = admission.limit(Priority.CHOOSE)
    choices.in_flight = 1_000
    choices_before = choices.places
    admission.start()
    for _ in range(5):
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251  That is the point.
    await asyncio.sleep(0)
    admission.stop()

    assert choices.places < choices_before
