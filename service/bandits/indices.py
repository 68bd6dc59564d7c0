"""Upper confidence bounds on a success rate, elementwise: the indices of the UCB family.

Each function takes pulls n, successes s (clipped to n), arrays of one shape, and the total t of
all pulls so far, and is infinite at n = 0: an arm never tried comes first. Budgets of logarithms
are 0 rather than negative where t < 1.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from service.bandits.arrays import FloatArray
from service.bandits.bernoulli import kl_shift

_NEWTON_STEPS_MAX = 60
# Evidence that has decayed to less than this says nothing, and dividing by it could overflow.
PULLS_MIN = 1e-9


def exploration(total: float, c: float = 0.0) -> float:
    """Return ln t + c ln ln t, not below 0: the budget of KL-UCB."""
    log_total = np.log(max(total, 1.0))
    extra = c * np.log(log_total) if c and log_total > 0 else 0.0
    return float(max(0.0, log_total + extra))


def _mean(pulls: FloatArray, successes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return pulls safe to divide by, and the mean rates."""
    safe = np.where(pulls > PULLS_MIN, pulls, 1.0)
    return safe, np.minimum(successes, pulls) / safe


def _untried_first(pulls: FloatArray, index: FloatArray) -> FloatArray:
    return np.where(pulls > PULLS_MIN, index, np.inf)


def ucb1_index(
    pulls: FloatArray, successes: FloatArray, total: float, alpha: float = 4.0
) -> FloatArray:
    """Return m + sqrt(alpha ln t / (2 n)); alpha = 4 is UCB1.

    References
    ----------
    Auer, Cesa-Bianchi and Fischer, 2002, Finite-time analysis of the multiarmed bandit problem.

    Examples
    --------
    >>> ucb1_index(np.array([1000.0]), np.array([40.0]), 2220).round(10)
    array([0.16413914])
    """
    safe, mean = _mean(pulls, successes)
    return _untried_first(pulls, mean + np.sqrt(alpha * exploration(total) / (2.0 * safe)))


def ucb1_tuned_index(pulls: FloatArray, successes: FloatArray, total: float) -> FloatArray:
    """Return m + sqrt(ln t / n min(1/4, V)), V = m (1 - m) + sqrt(2 ln t / n).

    References
    ----------
    Auer, Cesa-Bianchi and Fischer, 2002, Finite-time analysis of the multiarmed bandit problem.
    """
    safe, mean = _mean(pulls, successes)
    ratio = exploration(total) / safe
    variance = mean * (1.0 - mean) + np.sqrt(2.0 * ratio)
    return _untried_first(pulls, mean + np.sqrt(ratio * np.minimum(0.25, variance)))


def moss_index(pulls: FloatArray, successes: FloatArray, horizon: float, n_arms: int) -> FloatArray:
    """Return m + sqrt(max(0, ln(T / (K n))) / n), for a horizon T known in advance.

    References
    ----------
    Audibert and Bubeck, 2009, Minimax policies for adversarial and stochastic bandits.
    """
    safe, mean = _mean(pulls, successes)
    bonus = np.maximum(0.0, np.log(horizon / (n_arms * safe))) / safe
    return _untried_first(pulls, mean + np.sqrt(bonus))


def kl_ucb_index(
    pulls: FloatArray,
    successes: FloatArray,
    total: float,
    c: float = 0.0,
    start: FloatArray | None = None,
    tolerance: float = 1e-12,
) -> FloatArray:
    """Return the largest q with n kl(m, q) <= ln t + c ln ln t.

    Parameters
    ----------
    pulls, successes, total
        As in the module docstring.
    c
        0 in practice; 3 only for the proof.
    start
        Guess of the result, such as the index one pull ago; it saves steps, no more.
    tolerance
        Largest last Newton step; the error is about its square.

    References
    ----------
    Garivier and Cappe, 2011, The KL-UCB algorithm for bounded stochastic bandits and beyond.
    """
    safe, mean = _mean(pulls, successes)
    budget = exploration(total, c) / safe
    upper = _kl_upper(mean, budget)
    q = upper if start is None else np.where(start > mean, np.minimum(start, upper), upper)
    # kl(m, q) is convex in q, so from the right Newton falls steadily onto the root, and from
    # the left its first step lands on the right.
    for _ in range(_NEWTON_STEPS_MAX):
        gap = q - mean
        inside = (gap > 0) & (q < 1.0)
        slope = np.divide(gap, q * (1.0 - q), out=np.ones_like(q), where=inside)
        step = np.where(inside, (kl_shift(mean, gap) - budget) / slope, 0.0)
        q = np.clip(q - step, mean, upper)
        if float(np.abs(step).max()) <= tolerance:
            break
    return _untried_first(pulls, q)


def _kl_upper(mean: FloatArray, budget: FloatArray) -> FloatArray:
    """Return the least of three closed bounds on the root of kl(m, q) = budget, q > m."""
    # kl >= (q - m)^2 / (2 q); kl >= 2 (q - m)^2; and kl >= m ln m + (1 - m) ln((1 - m) / (1 - q)).
    poisson = mean + budget + np.sqrt(budget * (budget + 2.0 * mean))
    pinsker = mean + np.sqrt(budget / 2.0)
    rest = np.maximum(1.0 - mean, 1e-100)
    logarithm = mean - rest * np.expm1(-(budget + special.entr(mean)) / rest)
    bound: FloatArray = np.minimum(np.minimum(poisson, pinsker), np.minimum(logarithm, 1.0))
    return np.maximum(bound, mean)


def bayes_ucb_index(pulls: FloatArray, successes: FloatArray, total: float) -> FloatArray:
    """Return the quantile of Beta(1 + s, 1 + n - s) at 1 - 1 / t.

    References
    ----------
    Kaufmann, Cappe and Garivier, 2012, On Bayesian upper confidence bounds for bandit problems.
    """
    wins = np.minimum(successes, pulls)
    quantile = special.betainccinv(1.0 + wins, 1.0 + pulls - wins, 1.0 / max(total, 1.0))
    return _untried_first(pulls, np.asarray(quantile, np.float64))
