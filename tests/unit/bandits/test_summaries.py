"""Entropy and quantiles have the values that can be worked out by hand."""

from __future__ import annotations

from math import isnan, log

import pytest

from service.bandits.summaries import entropy_ratio, histogram_quantile

EDGES = (1.0, 2.0, 4.0)


def test_entropy_is_a_share_of_what_so_many_arms_can_have() -> None:
    assert entropy_ratio([0.25] * 4) == pytest.approx(1)
    assert entropy_ratio([0.0, 1.0]) == 0
    halves_of_four = entropy_ratio([0.5, 0.5, 0.0, 0.0])
    assert halves_of_four == pytest.approx(log(2) / log(4))
    assert isnan(entropy_ratio([1.0]))


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((4, 0, 0, 0), 0.5, 0.5),
        ((1, 1, 2, 0), 0.5, 2.0),
        ((1, 1, 2, 0), 0.75, 3.0),
        ((0, 2, 0, 0), 0.0, 1.0),
        ((1, 0, 0, 9), 0.9, 4.0),
    ],
)
def test_a_quantile_lies_within_its_bin(
    counts: tuple[int, ...], share: float, value: float
) -> None:
    assert histogram_quantile(counts, EDGES, share) == pytest.approx(value)


def test_nothing_counted_has_no_quantile() -> None:
    assert isnan(histogram_quantile((0, 0, 0, 0), EDGES, 0.5))
