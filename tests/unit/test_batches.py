"""Whom the replay memory is asked for, and how long that may take."""

from __future__ import annotations

import asyncio

from service.decisions.batches import Asking, Waiting, askings
from tests.store_records import a_decision

NOW = 1_000.0
LATE, HASTY, PATIENT = NOW + 0.001, NOW + 0.03, NOW + 0.15


async def asked(*deadlines: float, asks: bool = True) -> list[Asking]:
    loop = asyncio.get_running_loop()
    batch = [
        Waiting(a_decision(i), asks, at, loop.create_future()) for i, at in enumerate(deadlines)
    ]
    return askings(batch, NOW)


async def test_who_has_time_is_asked_for_under_the_usual_deadline() -> None:
    assert await asked(PATIENT, PATIENT) == [Asking([0, 1])]


async def test_who_does_not_ask_is_left_out() -> None:
    assert await asked(PATIENT, LATE, asks=False) == []


async def test_who_has_waited_too_long_is_not_asked_for() -> None:
    assert await asked(NOW - 1.0) == [Asking([0], 0.0)]


async def test_the_hastiest_sets_the_deadline_of_the_hasty_only() -> None:
    patient, hasty, late = await asked(PATIENT, HASTY + 0.02, LATE, HASTY)

    assert (patient, late) == (Asking([0]), Asking([2], 0.0))
    assert list(hasty.indices) == [1, 3]
    assert hasty.deadline_ms is not None
    assert round(hasty.deadline_ms, 6) == 30.0
