"""P(best), E[max] and expected loss against published, closed and independent values."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import special

from service.bandits.arrays import FloatArray
from service.bandits.posteriors import beta_best, credible_interval
from service.bandits.quadrature import integrate_maximum

Pairs = list[tuple[float, float]]

KNOWN_BEST: dict[str, tuple[Pairs, list[float]]] = {
    "six adverts": (
        [(1989, 21290), (40, 474), (64, 730), (71, 818), (52, 659), (59, 718)],
        [0.2962609164, 0.1760297118, 0.2033806060, 0.1690300472, 0.0613760324, 0.0939226862],
    ),
    "five of very different width": (
        [(100, 50), (30, 100), (5, 5), (10, 5), (20, 200)],
        [0.4133379164, 0, 0.0984532137, 0.4882088699, 0],
    ),
    "two at a tenth": ([(101, 901), (121, 881)], [0.0768165610, 0.9231834390]),
    "shapes below one": (
        [(0.5, 10.5), (0.5, 100.5), (1.5, 99.5)],
        [0.5954651772, 0.0677369169, 0.3367979059],
    ),
    "a handful of counts": (
        [(3, 2), (1, 3), (4, 3)],
        [0.5237762238, 0.0496503497, 0.4265734266],
    ),
}


def shapes(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    table = np.array(pairs, dtype=np.float64)
    return table[:, 0], table[:, 1]


@pytest.mark.parametrize("name", KNOWN_BEST)
def test_the_probability_of_being_best_is_exact(name: str) -> None:
    pairs, expected = KNOWN_BEST[name]

    best = beta_best(*shapes(pairs))

    np.testing.assert_allclose(best.p_best, expected, atol=1e-9)
    assert best.p_best.sum() == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("six adverts", 0.0910915265), ("five of very different width", 0.7232470423)],
)
def test_the_expectation_of_the_highest_rate_is_exact(name: str, expected: float) -> None:
    assert beta_best(*shapes(KNOWN_BEST[name][0])).expected_max == pytest.approx(expected, abs=1e-9)


def test_the_expected_losses_are_exact() -> None:
    best = beta_best(*shapes(KNOWN_BEST["two at a tenth"][0]))

    np.testing.assert_allclose(best.expected_loss, [0.0204446938, 0.0004846139], atol=1e-9)


def test_the_hillstrom_conversions_have_their_known_answer() -> None:
    successes, pulls = np.array([267.0, 189.0, 122.0]), np.array([21307.0, 21387.0, 21306.0])

    best = beta_best(1 + successes, 1 + pulls - successes)

    assert best.p_best[0] == pytest.approx(0.999899123, abs=1e-9)
    assert best.expected_loss[0] == pytest.approx(2.4154e-8, abs=1e-12)


def exact_second_beats_first(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return P(B > A) for integer shapes as a sum of exact fractions."""

    def beta(a: int, b: int) -> Fraction:
        return Fraction(a + b, a * b * comb(a + b, a))

    (a, b), (c, d) = first, second
    terms = (beta(a + i, b + d) / ((d + i) * beta(1 + i, d) * beta(a, b)) for i in range(c))
    return float(sum(terms))


@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 2), (4, 3)), ((1, 1), (1, 9)), ((101, 901), (121, 881)), ((5, 500), (30, 1500))],
)
def test_two_arms_agree_with_the_closed_sum(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    best = beta_best(*shapes([first, second]))

    assert best.p_best[1] == pytest.approx(exact_second_beats_first(first, second), abs=1e-12)


@pytest.mark.parametrize(
    "alpha", [[1.0, 1.0, 1.0], [0.5, 2.0, 7.25], [0.001, 0.002], [0.05] * 30, [1e6, 2e6, 0.3]]
)
def test_powers_agree_with_their_closed_form(alpha: list[float]) -> None:
    """F(x) = x^a: the best is arm i with a_i / sum a, the highest has mean sum a / (1 + sum a)."""
    powers = np.array(alpha)

    best = beta_best(powers, np.ones(powers.size))

    np.testing.assert_allclose(best.p_best, powers / powers.sum(), atol=1e-12)
    assert best.expected_max == pytest.approx(powers.sum() / (1 + powers.sum()), abs=1e-12)


@pytest.mark.parametrize("beta", [(0.5, 0.25), (0.001, 3.0), (1e7, 0.4), (2e6, 1e6)])
def test_spikes_at_one_agree_with_their_closed_form(beta: tuple[float, float]) -> None:
    """1 - F(x) = (1 - x)^b: the first is best with b_2 / (b_1 + b_2)."""
    powers = np.array(beta)

    best = beta_best(np.ones(2), powers)

    means = (1 / (1 + powers)).sum()
    np.testing.assert_allclose(best.p_best, powers[::-1] / powers.sum(), atol=1e-12)
    assert best.expected_max == pytest.approx(means - 1 / (1 + powers.sum()), abs=1e-12)


def by_quantiles(alpha: FloatArray, beta: FloatArray) -> tuple[FloatArray, float]:
    """Integrate independently: the trapezoidal rule over normal scores of each arm's quantiles."""
    z = np.arange(-9.0, 9.0, 0.02)
    weight = 0.02 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    chance, highest = np.zeros(alpha.size), 0.0
    for arm in range(alpha.size):
        x = special.betaincinv(alpha[arm], beta[arm], special.ndtr(z))
        others = np.delete(np.arange(alpha.size), arm)
        below = special.betainc(alpha[others, None], beta[others, None], x).prod(axis=0)
        chance[arm] = (weight * below).sum()
        highest += float((weight * below * x).sum())
    return chance, highest


@pytest.mark.parametrize("pulls", [1e2, 1e4, 1e6, 1e7])
def test_large_counts_agree_with_an_independent_integration(pulls: float) -> None:
    lift = np.array([0.0, 0.5, 1.0, 1.5]) / np.sqrt(pulls)
    alpha = pulls * (0.05 + 0.2 * lift)
    beta = pulls - alpha

    best = beta_best(alpha, beta)

    chance, highest = by_quantiles(alpha, beta)
    np.testing.assert_allclose(best.p_best, chance, atol=1e-9)
    assert best.expected_max == pytest.approx(highest, abs=1e-10)


def test_thirty_arms_agree_with_an_independent_integration() -> None:
    rng = np.random.default_rng(3)
    pulls = rng.uniform(50, 400, 30)
    alpha: FloatArray = 1.5 + rng.binomial(pulls.astype(int), 0.1).astype(np.float64)
    beta = pulls + 3 - alpha

    best = beta_best(alpha, beta)

    np.testing.assert_allclose(best.p_best, by_quantiles(alpha, beta)[0], atol=1e-9)


EXTREMES: dict[str, Pairs] = {
    "one arm": [(3, 4)],
    "one arm with a tiny shape": [(0.001, 0.001)],
    "no pulls": [(1, 1)] * 3,
    "a hundred without pulls": [(1, 1)] * 100,
    "a thousand million pulls": [(1e8, 9e8), (1e8 + 1e4, 9e8), (1e8, 9e8)],
    "a million million pulls": [(1e11, 9e11), (1e11 + 1e5, 9e11)],
    "one vastly better": [(1, 1e7), (9e6, 1e6)],
    "never and always": [(0.001, 1e12), (1e12, 0.001)],
    "rare among millions": [(1, 1e9), (1, 1e9), (2, 1e9)],
    "a new arm beside a known one": [(1e5, 9e5), (1, 1)],
    "tiny shapes of every kind": [(0.003, 9.7e6), (0.0098, 2), (0.0026, 4e5), (7, 0.004)],
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_integrate_to_one_before_anything_is_normalised(name: str) -> None:
    alpha, beta = shapes(EXTREMES[name])

    maximum = integrate_maximum(alpha, beta)

    assert maximum.error < 1e-9
    assert maximum.p_best.sum() == pytest.approx(1.0, abs=1e-10)
    assert (maximum.p_best >= 0).all()
    assert maximum.expected >= (alpha / (alpha + beta)).max() - 1e-12


def test_identical_arms_share_equally() -> None:
    best = beta_best(np.full(7, 30.0), np.full(7, 970.0))

    np.testing.assert_allclose(best.p_best, 1 / 7, atol=1e-13)


def test_one_arm_is_best_and_loses_nothing() -> None:
    best = beta_best(np.array([3.0]), np.array([9.0]))

    assert best.p_best.tolist() == [1.0]
    assert best.expected_max == pytest.approx(0.25, abs=1e-13)
    assert best.expected_loss[0] == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [([1.0], [0.0]), ([-1.0], [1.0]), ([np.nan], [1.0]), ([np.inf], [1.0]), ([1.0], [1.0, 2.0])],
)
def test_impossible_shapes_are_refused(alpha: list[float], beta: list[float]) -> None:
    with pytest.raises(ValueError, match="shape"):
        beta_best(np.array(alpha), np.array(beta))


def test_no_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        beta_best(np.array([]), np.array([]))


def test_an_interval_holds_its_level_with_equal_tails() -> None:
    alpha, beta = np.array([1.0, 40.0, 5e6]), np.array([50.0, 960.0, 9.5e7])

    low, high = credible_interval(alpha, beta, level=0.9)

    np.testing.assert_allclose(special.betainc(alpha, beta, low), 0.05, rtol=1e-8)
    np.testing.assert_allclose(special.betaincc(alpha, beta, high), 0.05, rtol=1e-8)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        credible_interval(np.array([1.0]), np.array([1.0]), level)
