"""The Bernoulli divergence, and the lower bound on regret that follows from it."""

from __future__ import annotations

import numpy as np
from scipy import special

from service.bandits.arrays import FloatArray

_MEAN_MIN = 1e-290


def kl_shift(mean: FloatArray, shift: FloatArray) -> FloatArray:
    """Return the Bernoulli divergence kl(m, m + d), elementwise.

    Parameters
    ----------
    mean
        Means m in [0, 1].
    shift
        Differences d, with m + d in [0, 1].

    Notes
    -----
    ``kl(m, m + d) = -m ln(1 + d / m) - (1 - m) ln(1 - d / (1 - m))``. Taking the difference
    instead of two rates keeps the precision when d is tiny, as it is after 1e9 pulls.
    The result is infinite where m + d is 0 or 1 and m is not.
    """
    rest = 1.0 - mean
    # The ratio of an impossible outcome is irrelevant: xlog1py(0, y) is 0 for any y but nan.
    # A mean so small that the ratio would overflow is 0 for all that follows.
    up = np.divide(shift, mean, out=np.zeros_like(mean), where=mean > _MEAN_MIN)
    down = np.divide(shift, rest, out=np.zeros_like(mean), where=rest > 0)
    terms = special.xlog1py(mean, np.maximum(up, -1.0))
    terms += special.xlog1py(rest, -np.minimum(down, 1.0))
    # Rounding may leave -1e-17 where the divergence is 0.
    return np.maximum(0.0, -terms)


def kl_bernoulli(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return kl(p, q) = p ln(p / q) + (1 - p) ln((1 - p) / (1 - q)), elementwise.

    Parameters
    ----------
    p, q
        Rates in [0, 1], of shapes that broadcast.

    Examples
    --------
    >>> round(float(kl_bernoulli(np.array(0.1), np.array(0.9))), 10)
    1.7577796619
    """
    first, second = np.broadcast_arrays(np.asarray(p, float), np.asarray(q, float))
    return kl_shift(first, second - first)


def lai_robbins(rates: FloatArray) -> float:
    """Return the constant C of the Lai-Robbins lower bound on regret.

    Parameters
    ----------
    rates
        True success rates, shape (K,).

    Notes
    -----
    ``C = sum over suboptimal a of (mu* - mu_a) / kl(mu_a, mu*)``; regret after T pulls is at
    least about C ln T. The bound is asymptotic: at practical T good policies sit below it.

    References
    ----------
    Lai and Robbins, 1985, Asymptotically efficient adaptive allocation rules.

    Examples
    --------
    >>> round(lai_robbins(np.array([0.05, 0.04])), 6)
    8.875431
    """
    best = rates.max()
    worse = rates[rates < best]
    return float(((best - worse) / kl_bernoulli(worse, best)).sum())
