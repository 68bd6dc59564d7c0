"""The simulator itself: regret adds up, and one generator decides everything."""

import numpy as np
import pytest

from service.bandits.arrays import FloatArray
from service.bandits.indices import ucb1_index
from service.bandits.simulation import PosteriorDraw, WarmKlUcb, simulate

RATES = np.array([0.2, 0.5, 0.4])


def indifferent(pulls: FloatArray, _successes: FloatArray, _total: int) -> FloatArray:
    return np.zeros_like(pulls)


def test_one_seed_gives_one_result() -> None:
    first, second = (
        simulate(RATES, PosteriorDraw(rng), 300, 20, rng)
        for rng in (np.random.default_rng(4), np.random.default_rng(4))
    )

    np.testing.assert_array_equal(first, second)


def test_equal_scores_are_decided_by_chance() -> None:
    """The mean of 400,000 even choices; chance fails it once in 15,000 seeds (4 sigma)."""
    rng = np.random.default_rng(8)

    regret = simulate(RATES, indifferent, 1000, 400, rng)

    gap = RATES.max() - RATES
    assert regret.mean() / 1000 == pytest.approx(gap.mean(), abs=4 * gap.std() / np.sqrt(400_000))


def test_every_arm_is_pulled_once_first() -> None:
    regret = simulate(RATES, ucb1_index, 3, 10, np.random.default_rng(1))

    np.testing.assert_allclose(regret, (RATES.max() - RATES).sum())


def test_replications_differ_from_one_another() -> None:
    regret = simulate(RATES, WarmKlUcb(), 200, 30, np.random.default_rng(2))

    assert np.unique(regret).size > 5
