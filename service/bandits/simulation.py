"""Seeded simulation of sequential Bernoulli bandits, many replications at a time.

This is the textbook setting of the regret tables: one pull after another, each reward known
before the next pull. The policies of the service answer with whole allocations; what ties
the two is that they share index functions and posteriors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.bandits.arrays import FloatArray, IntArray
from service.bandits.indices import kl_ucb_index

# Uniform numbers for this many pulls are drawn at once.
_BLOCK = 256


class Chooser(Protocol):
    """Score all arms of all replications; the highest score is pulled."""

    def __call__(self, pulls: FloatArray, successes: FloatArray, total: int, /) -> FloatArray:
        """Return scores of shape (N, K), given pulls and successes of that shape."""
        ...


@dataclass(frozen=True, slots=True)
class PosteriorDraw:
    """Score by a draw from each posterior Beta(alpha + s, beta + n - s): Thompson sampling.

    Parameters
    ----------
    rng
        The source of the draws.
    alpha, beta
        Shapes of the prior.
    """

    rng: np.random.Generator
    alpha: float = 1.0
    beta: float = 1.0

    def __call__(self, pulls: FloatArray, successes: FloatArray, total: int) -> FloatArray:  # noqa: ARG002 - draws need no total
        """Return one draw per arm and replication."""
        return self.rng.beta(self.alpha + successes, self.beta + pulls - successes)


class WarmKlUcb:
    """Score by KL-UCB, starting each search at the indices of the pull before.

    Notes
    -----
    Holds those indices, so an instance serves one run. One pull changes an index little: two
    Newton steps do, where a cold start takes six.
    """

    def __init__(self) -> None:
        self._last: FloatArray | None = None

    def __call__(self, pulls: FloatArray, successes: FloatArray, total: int) -> FloatArray:
        """Return the index of each arm and replication, within 1e-8."""
        start = None if self._last is None else np.where(np.isinf(self._last), 1.0, self._last)
        self._last = kl_ucb_index(pulls, successes, total, start=start, tolerance=1e-5)
        return self._last


def simulate(
    rates: FloatArray,
    chooser: Chooser,
    horizon: int,
    replications: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the cumulative pseudo-regret of each replication.

    Parameters
    ----------
    rates
        True success rates, shape (K,).
    chooser
        Scores the arms before each pull: an index function of `service.bandits.indices`, or a
        draw. Equal scores are decided by chance.
    horizon
        Number of pulls T of each replication.
    replications
        Number of independent replications N.
    rng
        The only source of chance.

    Returns
    -------
    Shape (N,): ``sum over arms of (mu* - mu_a) n_a(T)``.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> regret = simulate(np.array([0.1, 0.9]), PosteriorDraw(rng), 100, 20, rng)
    >>> bool(regret.mean() < 10)
    True
    """
    pulls = np.zeros((replications, rates.size))
    successes = np.zeros_like(pulls)
    rows = np.arange(replications)
    for first in range(0, horizon, _BLOCK):
        points = rng.random((min(_BLOCK, horizon - first), replications))
        for step, point in enumerate(points):
            scores = chooser(pulls, successes, first + step)
            arm = _highest(scores, rng)
            pulls[rows, arm] += 1.0
            successes[rows, arm] += point < rates[arm]
    regret: FloatArray = pulls @ (rates.max() - rates)
    return regret


def _highest(scores: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return the arm with the highest score in each row; ties are drawn."""
    tied = scores == scores.max(axis=1, keepdims=True)
    if np.count_nonzero(tied) == scores.shape[0]:
        return np.asarray(np.argmax(tied, axis=1), np.int64)
    lots = tied * (1.0 - rng.random(scores.shape))
    return np.asarray(np.argmax(lots, axis=1), np.int64)
