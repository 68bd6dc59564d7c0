"""Quantiles, error budgets and verdicts come to the values that can be worked out by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from service.domain.service_levels import Bucket
from service.metrics import ABOVE_US, EDGES_US
from service.reporting.service_levels import (
    error_budget_left,
    overall,
    quantile_ms,
    service_levels,
    window_level,
)
from service.sla import OBJECTIVES, Objective

CHOOSE = OBJECTIVES[0]  # 99.9 %, 500 ms, p99 10 ms.
REPORTS = OBJECTIVES[-1]  # 99 %, 2 s.
FAST, SLOW = 1_000, 500_000


def counts(
    objective: Objective, good: int, bad: int, good_us: int = FAST, bad_us: int = FAST
) -> dict[Bucket, int]:
    named = objective.name
    return {Bucket(named, False, good_us): good, Bucket(named, True, bad_us): bad}


def test_a_quantile_lies_between_its_edges_evenly_by_logarithm() -> None:
    below = EDGES_US[EDGES_US.index(1_000) - 1]

    assert quantile_ms({1_000: 8}, 0.5) == round(sqrt(below * 1_000) / 1_000, 3)
    assert quantile_ms({1_000: 8}, 1.0) == 1.0
    assert quantile_ms({100: 4, 1_000: 4}, 0.5) == 0.1
    assert quantile_ms({100: 4}, 0.25) == 0.025
    assert quantile_ms({1_000: 1, ABOVE_US: 1}, 0.99) == 10_000.0  # At least so long.
    assert quantile_ms({}, 0.5) is None


def test_quantiles_of_a_skewed_sample_are_good_to_a_tenth() -> None:
    # Seeded, so it never fails by chance; the half width of a bucket bounds the error anyway.
    times_us = np.random.default_rng(4).lognormal(np.log(3_000), 1.2, 20_000)
    edges = np.searchsorted(EDGES_US, times_us)
    sample = {EDGES_US[index]: int((edges == index).sum()) for index in set(edges)}

    for quantile in (0.5, 0.95, 0.99):
        true_ms = float(np.quantile(times_us, quantile)) / 1_000
        assert quantile_ms(sample, quantile) == pytest.approx(true_ms, rel=0.1)


@pytest.mark.parametrize(
    ("objective", "requests", "bad", "left"),
    [
        (CHOOSE, 0, 0, 1.0),
        (CHOOSE, 10_000, 0, 1.0),
        (CHOOSE, 10_000, 5, 0.5),
        (CHOOSE, 10_000, 10, 0.0),
        (CHOOSE, 1_000, 3, -2.0),
        (REPORTS, 200, 1, 0.5),
    ],
)
def test_the_budget_left_is_what_the_share_of_bad_answers_leaves(
    objective: Objective, requests: int, bad: int, left: float
) -> None:
    assert error_budget_left(objective, requests, bad) == left
    if requests:
        assert left == pytest.approx(1 - (bad / requests) / (1 - objective.good_share))


@pytest.mark.parametrize(
    ("objective", "good", "bad", "verdict", "broken"),
    [
        (CHOOSE, 0, 0, "no_data", ()),
        (CHOOSE, 999, 0, "no_data", ()),
        (CHOOSE, 1_000, 0, "met", ()),
        (CHOOSE, 999, 1, "met", ()),  # The whole budget, and no more.
        (CHOOSE, 998, 2, "broken", ("good_share",)),
        (CHOOSE, 500, 9, "no_data", ()),
        (CHOOSE, 0, 9, "no_data", ()),
        (CHOOSE, 0, 10, "broken", ("good_share",)),
        (REPORTS, 99, 1, "met", ()),
        (REPORTS, 97, 3, "broken", ("good_share",)),
    ],
)
def test_few_requests_are_not_judged_by_single_bad_answers(
    objective: Objective, good: int, bad: int, verdict: str, broken: tuple[str, ...]
) -> None:
    level = window_level(objective, counts(objective, good, bad))

    assert (level.requests, level.bad) == (good + bad, bad)
    assert (level.verdict, level.broken) == (verdict, broken)


@pytest.mark.parametrize(
    ("slow", "of", "broken"), [(10, 1_000, ()), (11, 1_000, ("p99",)), (500, 999, ())]
)
def test_the_promised_percentile_is_broken_when_more_than_one_in_a_hundred_is_later(
    slow: int, of: int, broken: tuple[str, ...]
) -> None:
    times = {Bucket(CHOOSE.name, False, 10_000): of - slow, Bucket(CHOOSE.name, False, SLOW): slow}

    level = window_level(CHOOSE, times)

    assert level.broken == broken
    assert level.good_share == 1.0


def test_a_route_is_not_judged_by_another() -> None:
    by_window = {"1h": counts(REPORTS, 0, 50), "30d": counts(REPORTS, 9_950, 50)}
    found = service_levels(by_window, 0)
    verdicts = {level.route: level.verdict for level in found.routes}

    assert verdicts.pop("reports") == "broken"
    assert set(verdicts.values()) == {"no_data"}
    assert (found.verdict, found.windows) == ("broken", {"1h": "broken", "30d": "met"})


def test_verdicts_together_are_as_bad_as_the_worst_that_is_known() -> None:
    assert overall(["met", "no_data", "broken"]) == "broken"
    assert overall(["met", "no_data"]) == "met"
    assert overall(["no_data"]) == overall([]) == "no_data"
