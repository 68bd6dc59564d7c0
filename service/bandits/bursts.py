"""Whether a share of bad ones among the newest is more than its history explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from service.bandits.arrays import FloatArray

# Before there is a history, a share is taken for one like this, with the weight of so many.
PRIOR_COUNT = 100.0
# Hours differ: as much as draws of a Beta distribution with the concentration of so many trials.
# It is learned where hours tell it, and never taken for higher than this: nobody knows hours that
# well, and retries come in crowds.
CONCENTRATION_MAX = 200.0
CONCENTRATION_MIN = 4.0
CONCENTRATION_PRIOR = 20.0
HOURS_TO_LEARN_MIN = 24
# Of history, the part of hours that is left out as bursts of their own: half a day of four weeks,
# but not one hour of every night.
BURSTS_SHARE = 0.02


class Burst(NamedTuple):
    """The newest share, the share of history, and how probable so high a one would be."""

    share: float
    usual: float
    probability: float


def burst(bad: int, total: int, history: Sequence[tuple[int, int]], prior_share: float) -> Burst:
    """Compare the newest share of bad ones with the hours before.

    Parameters
    ----------
    bad, total
        Of the newest; `total` counts the bad ones too.
    history
        (bad, total) of every hour before, in any order.
    prior_share
        What a share is taken for before there is a history, in (0, 1).

    Returns
    -------
    Burst
        With the probability of at least so many bad ones; 1 without any trial.

    Notes
    -----
    The share of an hour is a draw from a Beta distribution with mean m and concentration c, the
    number of bad ones a binomial draw given that share: X ~ BetaBinomial(n, c m, c (1 - m)). m is
    the share of all history, shrunk to the prior. c comes from the variance of hourly shares by
    the method of moments: c = (m (1 - m) - v) / v with v = max(0, sum (x_i - m n_i)^2 -
    m (1 - m) sum n_i) / sum n_i (n_i - 1), bounded on both sides. A binomial tail alone would call
    any retry of a batch an event that never happens. The hours with the largest excess are left
    out of all this, or one burst would hide the next.

    Examples
    --------
    >>> round(burst(30, 200, [(2, 100)] * 48, 0.05).probability, 8)
    1.27e-06
    """
    if not total:
        return Burst(0.0, prior_share, 1.0)
    counts = _without_bursts(np.array([p for p in history if p[1]], float).reshape(-1, 2))
    usual = (counts[:, 0].sum() + prior_share * PRIOR_COUNT) / (counts[:, 1].sum() + PRIOR_COUNT)
    concentration = _concentration(counts, usual)
    alpha, beta = usual * concentration, (1.0 - usual) * concentration
    probability = float(stats.betabinom.sf(bad - 1, total, alpha, beta))
    return Burst(bad / total, float(usual), min(1.0, max(0.0, probability)))


def _without_bursts(counts: FloatArray) -> FloatArray:
    """Return history without the few hours that exceed its share the most."""
    left_out = int(BURSTS_SHARE * len(counts))
    if not left_out:
        return counts
    excess = counts[:, 0] - counts[:, 1] * counts[:, 0].sum() / counts[:, 1].sum()
    return counts[np.argsort(excess, kind="stable")[:-left_out]]


def _concentration(counts: FloatArray, usual: float) -> float:
    """Return how alike the hours are; the prior where too few tell it."""
    bad, total = counts[:, 0], counts[:, 1]
    pairs = float((total * (total - 1.0)).sum())
    if len(total) < HOURS_TO_LEARN_MIN or not pairs:
        return CONCENTRATION_PRIOR
    within = usual * (1.0 - usual)
    between = float(((bad - usual * total) ** 2).sum() - within * total.sum()) / pairs
    if between <= 0.0:
        return CONCENTRATION_MAX
    return min(CONCENTRATION_MAX, max(CONCENTRATION_MIN, within / between - 1.0))
