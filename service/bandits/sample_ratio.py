"""Is traffic split as intended? Likelihood ratios against the propensities, and fixed-n figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from service.bandits.arrays import FloatArray

# An alarm is right to be doubted in one experiment of so many, however often one looks.
ALARM_ODDS = 1_000.0

# How a sampler may change the odds of a variant: 1 % more to thrice, 1 % less to all but never.
_STEPS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
TILTS: FloatArray = np.array([*_STEPS, 2.0, *(-step for step in _STEPS), -0.95])


def log_ratios(intended: FloatArray, pulls: FloatArray) -> FloatArray:
    """Return the log likelihood ratios of every tilt of every variant, group by group.

    Parameters
    ----------
    intended
        Propensities that all decisions of a group were made with, shape (G, K), rows summing
        to 1. Variants that could not be chosen have 0.
    pulls
        How many of a group's decisions got each variant, shape (G, K).

    Returns
    -------
    Shape (G, K, D): for variant k and the tilt ``d`` of `TILTS`.

    Notes
    -----
    A sampler tilted to variant k chooses it with odds ``(1 + d) e_k`` against ``1 - e_k``. Its
    likelihood ratio for one decision A is ``(1 + d 1{A = k}) / (1 + d e_k)``, whose mean under the
    intended split is 1 whatever the propensities are and whatever they were chosen by. So the
    running product is a non-negative martingale, and all decisions made with the same
    propensities enter by their counts: ``n_k log(1 + d) - n log(1 + d e_k)``.

    References
    ----------
    Lindon and Malek, 2022, Anytime-valid inference for multinomial count data.
    Ramdas, Gruenwald, Vovk and Shafer, 2023, Game-theoretic statistics and safe anytime-valid
    inference.

    Examples
    --------
    >>> ratios = np.exp(log_ratios(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])))
    >>> ratios[0, 0, :2].round(6)  # 1.01 / 1.005 and 1.02 / 1.01
    array([1.004975, 1.009901])
    """
    decisions = pulls.sum(axis=1)[:, None, None]
    expected = decisions * np.log1p(intended[:, :, None] * TILTS)
    ratios: FloatArray = pulls[:, :, None] * np.log1p(TILTS) - expected
    return ratios


def log_bayes_factor(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the log Bayes factor of any split at all against one intended split.

    Parameters
    ----------
    counts
        Decisions of each variant, K of them.
    shares
        The intended shares, each > 0, sum 1.

    Notes
    -----
    Under a Dirichlet(1, .., 1) prior of the split,
    ``Gamma(K) / Gamma(K + n) prod Gamma(1 + n_k) / prod theta_k^{n_k}``. For shares that never
    change; adaptive traffic is judged against its own propensities (`log_ratios`).

    References
    ----------
    Lindon and Malek, 2022, Anytime-valid inference for multinomial count data.

    Examples
    --------
    >>> round(log_bayes_factor([5000, 5200], [0.5, 0.5]), 7)
    -2.428636
    """
    observed = np.array(counts, dtype=np.float64)
    marginal = special.gammaln(observed + 1.0).sum() + special.gammaln(observed.size)
    marginal -= special.gammaln(observed.sum() + observed.size)
    return float(marginal - (observed * np.log(np.array(shares))).sum())


def covariance(intended: FloatArray, decisions: FloatArray) -> FloatArray:
    """Return the covariance of all counts under the intended split, shape (K, K).

    Parameters
    ----------
    intended
        Propensities of each group, shape (G, K).
    decisions
        Decisions of each group, shape (G,).

    Notes
    -----
    ``V = sum_t (diag e_t - e_t e_t')``; decisions are uncorrelated given what was before them.

    Examples
    --------
    >>> covariance(np.array([[0.5, 0.5]]), np.array([100.0]))
    array([[ 25., -25.],
           [-25.,  25.]])
    """
    weighted = decisions[:, None] * intended
    result: FloatArray = np.diag(weighted.sum(axis=0)) - intended.T @ weighted
    return result


def chi_square_p(excess: FloatArray, spread: FloatArray) -> float:
    """Return the p-value of a split looked at once: a figure to show, not one to watch.

    Parameters
    ----------
    excess
        ``Z``: decisions of each variant beyond the intended number, shape (K,), sum 0.
    spread
        Their covariance ``V``, shape (K, K): see `covariance`.

    Notes
    -----
    ``Z' V^- Z`` is chi-square with the rank of V degrees of freedom, K - 1 where every variant
    could be chosen. A variant that could not be chosen and was leaves no doubt: 0.

    References
    ----------
    Fabijan et al., 2019, Diagnosing sample ratio mismatch in online controlled experiments.

    Examples
    --------
    >>> spread = covariance(np.array([[0.5, 0.5]]), np.array([1637070.0]))
    >>> round(chi_square_p(np.array([3053.0, -3053.0]), spread) * 1e6, 2)
    1.82
    """
    could = np.diag(spread) > 0.0
    if np.abs(excess[~could]).sum() > 0.5:  # noqa: PLR2004  Half a decision: counts are whole.
        return 0.0
    rank = int(could.sum()) - 1
    if rank < 1:
        return 1.0
    # Counts sum to n, so one of them tells nothing; scaled, rare variants keep their digits.
    scale = np.sqrt(np.diag(spread)[could])
    values, vectors = np.linalg.eigh(spread[np.ix_(could, could)] / np.outer(scale, scale))
    along = vectors.T @ (excess[could] / scale)
    is_real = values > values[-1] * values.size * 1e-12
    statistic = float((along[is_real] ** 2 / values[is_real]).sum())
    return float(special.chdtrc(int(is_real.sum()), statistic))
