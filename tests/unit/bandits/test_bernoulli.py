"""The Bernoulli divergence and the Lai-Robbins constants of the reference problems."""

import numpy as np
import pytest

from service.bandits.bernoulli import kl_bernoulli, kl_shift, lai_robbins

LOW10 = [0.1, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02, 0.01, 0.01, 0.01]


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        (0.1, 0.9, 1.7577796619),
        (0.4, 0.5, 0.0201355136),
        (0.01, 0.99, 4.5032174531),
        (0.04, 0.05, 0.0011267058),
    ],
)
def test_the_divergence_has_its_known_values(p: float, q: float, expected: float) -> None:
    assert kl_bernoulli(np.array(p), np.array(q)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.1 * arm for arm in range(1, 10)], 7.516516),
        (LOW10, 17.445174),
        ([0.182757, 0.1514, 0.106167], 12.499915),
        ([0.012531, 0.008837, 0.005726], 8.914658),
        ([0.05, 0.04], 8.875431),
        ([0.5] + 9 * [0.4], 44.697147),
        ([0.5] + 9 * [0.48], 224.939978),
    ],
)
def test_the_lower_bound_on_regret_has_its_known_constants(
    rates: list[float], expected: float
) -> None:
    assert lai_robbins(np.array(rates)) == pytest.approx(expected, abs=1e-6)


def test_the_divergence_of_a_tiny_shift_keeps_its_digits() -> None:
    shift = np.array([1e-9])

    assert kl_shift(np.array([0.3]), shift) == pytest.approx(1e-18 / (2 * 0.3 * 0.7), rel=1e-6)


def test_certain_and_impossible_rates_have_limits() -> None:
    p = np.array([0.0, 0.0, 1.0, 1.0, 0.5, 0.5])
    q = np.array([0.0, 0.5, 1.0, 0.5, 1.0, 0.0])

    expected = [0.0, np.log(2), 0.0, np.log(2), np.inf, np.inf]

    np.testing.assert_allclose(kl_bernoulli(p, q), expected)


def test_equal_rates_leave_nothing_to_learn() -> None:
    assert lai_robbins(np.array([0.2, 0.2])) == 0.0
