"""Healthy traffic is left alone by every check, and each incident is met by its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from service.domain.quality import CheckState
from tests.statistical.traffic import Traffic
from tests.statistical.watched import INCIDENT, INCIDENTS, TrafficReader, all_checks, states

pytestmark = pytest.mark.statistical


def reader(seed: int, days: int = 23, sends_a_day: float = 20_000.0) -> TrafficReader:
    return TrafficReader(Traffic(np.random.default_rng(seed), days, sends_a_day))


async def test_healthy_traffic_raises_no_alarm() -> None:
    """Chance fails it about once in 100,000 seeds: see the rates in docs/data-quality.md."""
    found = await states(all_checks(reader(1)), np.arange(24.5, 23 * 24, 9.0).tolist())

    assert {name: said for name, said in found.items() if said} == {}


async def test_rewards_delivered_once_a_night_are_not_missing() -> None:
    """Three weeks of nights; no chance is in it but that of the traffic, as above."""
    traffic = Traffic(np.random.default_rng(2), 23, 3_000.0)
    delivered = np.ceil((traffic.decided + traffic.delay - 3.0) / 24.0) * 24.0 + 3.1
    checks = all_checks(TrafficReader(traffic, delivered))
    missing = [check for check in checks if check.name == "missing_rewards"]

    found = await states(missing, np.arange(24.9, 23 * 24, 3.0).tolist())

    assert found == {"missing_rewards": []}


@pytest.mark.parametrize(("happens", "check", "hours"), [each[1:] for each in INCIDENTS])
async def test_each_incident_is_met_by_its_own_check(
    happens: Callable[[TrafficReader], None], check: str, hours: float
) -> None:
    """Chance alone fails it about never: the tails are far below the 1e-6 of an alarm."""
    subject = reader(3, sends_a_day=60_000.0)
    happens(subject)
    (own,) = (each for each in all_checks(subject) if each.name == check)

    found = await states([own], [INCIDENT - 0.5, INCIDENT + hours])

    assert found[check] == [(INCIDENT + hours, CheckState.alarm)]
