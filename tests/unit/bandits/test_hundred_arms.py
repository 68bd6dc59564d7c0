"""P(best), E[max] and expected loss of a hundred arms against an independent integration."""

import numpy as np
import pytest
from scipy import special

from service.bandits.arrays import FloatArray
from service.bandits.posteriors import beta_best

PANELS, POINTS = 120, 20  # Of a composite Gauss-Legendre rule on the probability scale.


def by_gauss_legendre(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, float]:
    """Integrate with scipy's incomplete beta function, which the service does not use."""
    low = float(special.betaincinv(alpha, beta, 1e-15).min())
    high = float(special.betainccinv(alpha, beta, 1e-15).max())
    edges = np.linspace(low, high, PANELS + 1)
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    half = (high - low) / PANELS / 2
    x = ((edges[:-1] + half)[:, None] + half * nodes).ravel()
    w = np.tile(half * weights, PANELS)
    a, b = alpha[:, None], beta[:, None]
    below = special.betainc(a, b, x)
    density = np.exp((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - special.betaln(a, b))
    ones = np.ones((1, x.size))
    before = np.vstack([ones, np.cumprod(below, axis=0)[:-1]])
    after = np.vstack([np.cumprod(below[::-1], axis=0)[::-1][1:], ones])
    expected_max = high - float(w @ np.prod(below, axis=0))
    return (density * before * after) @ w, expected_max


@pytest.mark.parametrize("pulls", [200, 20_000, 10_000_000])
def test_a_hundred_arms_agree_with_an_independent_integration(pulls: int) -> None:
    rng = np.random.default_rng(pulls)
    rates = rng.normal(0.05, 0.4 * np.sqrt(0.05 / pulls), 100).clip(0.001)
    successes = rng.binomial(pulls, rates)
    alpha: FloatArray = 1.0 + successes.astype(np.float64)
    beta: FloatArray = 2.0 + pulls - alpha
    best = beta_best(alpha, beta)
    p_best, expected_max = by_gauss_legendre(alpha, beta)

    assert np.abs(best.p_best - p_best).max() < 1e-8
    assert best.p_best.sum() == pytest.approx(1, abs=1e-10)
    assert best.expected_max == pytest.approx(expected_max, abs=1e-8)
    assert np.abs(best.expected_loss - (expected_max - alpha / (alpha + beta))).max() < 1e-8
