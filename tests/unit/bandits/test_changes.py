"""Newest hours are compared with history within each variant, and by known laws of chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from service.bandits.bursts import burst
from service.bandits.changes import VARIATION_MIN, rate_change, value_change
from service.bandits.hours import Grid, Hour, arrivals, grid_of, incidence
from service.bandits.silence import silence

EDGES = np.array([1.0, 2.0, 4.0])


def steady(newest_pulls: list[float], newest_events: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return 40 hours in which two variants convert at 10 % and at 2 %, and a newest one."""
    pulls = np.tile([[1000.0], [1000.0]], (1, 40))
    events = np.tile([[100.0], [20.0]], (1, 40))
    return np.column_stack([pulls, newest_pulls]), np.column_stack([events, newest_events])


def test_a_mix_that_moved_is_no_change() -> None:
    change = rate_change(*steady([100.0, 5000.0], [10.0, 100.0]), 1)

    assert change is not None
    assert change.ratio == pytest.approx(1.0, rel=1e-3)
    assert change.probability > 0.9


def test_a_tail_is_that_of_the_negative_binomial_law() -> None:
    pulls, events = np.full((1, 41), 10_000.0), np.full((1, 41), 1_000.0)
    events[0, -1] = 500.0
    change = rate_change(pulls, events, 1)

    # Nothing differs, so the least variation holds; 40 stretches tell the rate.
    rate = (40_000.0 + 0.1) / 400_001.0
    size = 1.0 / (VARIATION_MIN**2 + rate / 400_001.0 / rate**2)
    law = stats.nbinom(size, size / (size + rate * 10_000.0))
    assert change is not None
    assert change.probability == pytest.approx(2.0 * law.cdf(500.0), rel=1e-9)


def test_a_new_variant_that_is_sent_much_is_uncertain_and_no_change() -> None:
    pulls, events = steady([0.0, 0.0], [0.0, 0.0])
    young = np.zeros((1, 41))
    young[0, -2:] = 10.0, 20_000.0
    came = np.zeros((1, 41))
    came[0, -1] = 600.0
    change = rate_change(np.vstack([pulls, young]), np.vstack([events, came]), 1)

    assert change is not None
    assert change.probability > 0.001


def test_too_little_tells_nothing() -> None:
    pulls, events = steady([100.0, 100.0], [0.0, 0.0])

    assert rate_change(pulls, events, 1) is None  # Twelve were to be expected.
    assert rate_change(pulls, events / 1000.0, 1) is None
    assert rate_change(pulls[:, -4:], events[:, -4:], 1) is None


def test_a_value_ten_times_as_large_is_a_change_and_the_same_is_none() -> None:
    counts = np.full((1, 31), 50.0)
    values, squares = counts * 20.0, counts * 500.0
    same = value_change(counts, values, squares, 1)
    values[0, -1] *= 10.0
    changed = value_change(counts, values, squares, 1)

    assert same is not None
    assert changed is not None
    assert same.probability == pytest.approx(1.0)
    assert changed.ratio == pytest.approx(10.0)
    assert changed.probability < 1e-9


def test_incidence_counts_only_decisions_that_were_old_enough() -> None:
    rows = [Hour(0, 100, 10, 5, 0.0, 0.0, {0: 2, 1: 3}), Hour(0, 104, 90, 1, 0.0, 0.0, {0: 1})]
    grid = grid_of(rows, 99, 106, 4)

    # At 103 + 1.5 hours the second hour has not ended; at 105 + 1.5 it is old enough for bin 0.
    assert incidence(grid, EDGES, 104.5)[0] == pytest.approx([0.2, 0.3, 0.0, 0.0])
    assert incidence(grid, EDGES, 106.5)[0] == pytest.approx([0.03, 0.3, 0.0, 0.0])


def test_arrivals_spread_what_was_sent_over_the_hours_that_follow() -> None:
    pulls = np.array([[100.0, 0.0, 0.0, 0.0, 0.0]])
    grid = Grid(0, pulls, pulls, pulls, pulls, np.zeros((1, 5, 4)))
    rates = np.array([[0.1, 0.2, 0.4, 0.0]])

    # Sent in the middle of hour 0: half of bin 0 there, then the rest of it and half of bin 1, ..
    assert arrivals(grid, rates, EDGES, 5.0) == pytest.approx([5.0, 15.0, 20.0, 20.0, 10.0])
    assert arrivals(grid, rates, EDGES, 4.25)[-1] == pytest.approx(2.5)


def test_a_silence_is_measured_from_the_last_one_on() -> None:
    came = [True, False, True, True, False, False]

    found = silence(np.array([4.0, 6.0, 2.0, 2.0, 1.0, 8.0]), came, 3.5)
    nothing = silence(np.ones(3), [False] * 3, 0.0)

    assert found == (10.0, 9.0)
    assert nothing == (3.0, 0.0)


def test_a_share_is_judged_by_the_beta_binomial_law_of_its_hours() -> None:
    alike = burst(20, 100, [(2, 100)] * 40, 0.05)
    unlike = burst(20, 100, [(0, 100)] * 30 + [(8, 100)] * 10, 0.05)
    usual = (80 + 5) / 4_100

    assert alike.usual == pytest.approx(usual)
    law = stats.betabinom(100, usual * 200, (1 - usual) * 200)
    assert alike.probability == pytest.approx(law.sf(19))
    assert unlike.probability > 30 * alike.probability
    assert burst(0, 0, [], 0.05).probability == 1.0
