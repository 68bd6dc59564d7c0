"""Thompson sampling and its top-two form, answered exactly instead of by drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from service.bandits.arrays import FloatArray
from service.bandits.bernoulli import kl_bernoulli
from service.bandits.evidence import ArmEvidence
from service.bandits.posteriors import beta_best

# Below this the probabilities of the other arms are mostly rounding; their ratios are noise.
_DECIDED = 1e-6


@dataclass(frozen=True, slots=True)
class Thompson:
    """Play each arm with its posterior probability of being the best (Thompson sampling).

    Parameters
    ----------
    alpha, beta
        Shapes of the Beta prior of every arm's success rate, > 0.

    Notes
    -----
    Arm i has the posterior ``Beta(alpha + s, beta + max(0, n - s))``. Drawing a rate
    from each posterior and playing the highest has exactly these propensities; integrating
    them means they can be logged and inverted. Unsent arms keep the prior, so a new
    variant gets sends at once. Regret meets the Lai-Robbins bound.

    References
    ----------
    Thompson, 1933, On the likelihood that one unknown probability exceeds another.
    Kaufmann, Korda and Munos, 2012, Thompson sampling: an asymptotically optimal analysis.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 120.0]))
    >>> Thompson().propensities(evidence).round(4)
    array([0.0768, 0.9232])
    """

    alpha: float = 1.0
    beta: float = 1.0

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the exact probability of each arm of being the best."""
        return beta_best(*_posterior(self.alpha, self.beta, evidence)).p_best


@dataclass(frozen=True, slots=True)
class TopTwoThompson:
    """Play the sampled best arm or, on a coin's other side, its challenger (find winners sooner).

    Parameters
    ----------
    alpha, beta
        Shapes of the Beta prior of every arm's success rate, > 0.
    coin
        Probability of playing the sampled best arm rather than the challenger, in (0, 1].

    Notes
    -----
    With the Thompson probabilities a_i, ``p_i = a_i (c + (1 - c) sum_{j != i} a_j / (1 - a_j))``:
    the challenger is redrawn until it differs from the leader, in closed form. Two arms and
    a coin of 1/2 make a 50/50 test.

    Once one arm is best beyond 1 - 1e-6, the others' probabilities are too small to be divided.
    Their limit takes over: arm j overtakes leader l with about probability Phi(-sqrt(2 C_j)),
    where ``C_j = n_l kl(m_l, m) + n_j kl(m_j, m)`` and m is the mean of both pooled.

    References
    ----------
    Russo, 2016, Simple Bayesian algorithms for best arm identification.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 120.0]))
    >>> TopTwoThompson().propensities(evidence)
    array([0.5, 0.5])
    """

    alpha: float = 1.0
    beta: float = 1.0
    coin: float = 0.5

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the probability of each arm of being played as best arm or as challenger."""
        alpha, beta = _posterior(self.alpha, self.beta, evidence)
        if evidence.n_arms == 1:
            return np.ones(1)
        best = beta_best(alpha, beta).p_best
        leader = int(np.argmax(best))
        if 1.0 - best[leader] > _DECIDED:
            return top_two(best, self.coin)
        result = (1.0 - self.coin) * _challengers(alpha, beta, leader)
        result[leader] = self.coin
        return result


def top_two(best: FloatArray, coin: float) -> FloatArray:
    """Return the propensities of top-two sampling from those of Thompson sampling.

    Parameters
    ----------
    best
        Probabilities of being best, shape (K,) with K >= 2, sum 1, none equal to 1.
    coin
        Probability of playing the best arm rather than the challenger.

    Examples
    --------
    >>> top_two(np.array([0.0183745409, 0.2840990846, 0.6975263745]), 0.5).round(6)
    array([0.03402 , 0.472285, 0.493695])
    """
    # 1 - a_j loses digits when a_j is nearly 1; the sum of the others does not.
    others = np.array([np.delete(best, arm).sum() for arm in range(best.size)])
    odds = best / others
    result: FloatArray = best * (coin + (1.0 - coin) * (odds.sum() - odds))
    # odds.sum() - odds cancels for a leader that dwarfs the rest.
    leader = int(np.argmax(best))
    rest = np.delete(odds, leader).sum()
    result[leader] = best[leader] * (coin + (1.0 - coin) * rest)
    normalised: FloatArray = result / result.sum()
    return normalised


def _posterior(alpha: float, beta: float, evidence: ArmEvidence) -> tuple[FloatArray, FloatArray]:
    """Return the shapes of the posteriors, whatever the order in which rewards arrived."""
    failures = np.maximum(0.0, evidence.pulls - evidence.successes)
    return alpha + evidence.successes, beta + failures


def _challengers(alpha: FloatArray, beta: FloatArray, leader: int) -> FloatArray:
    """Return the shares of the other arms in overtaking a leader that is all but certain."""
    counts = alpha + beta
    means = alpha / counts
    pooled = (alpha + alpha[leader]) / (counts + counts[leader])
    gap = counts * kl_bernoulli(means, pooled)
    gap += counts[leader] * kl_bernoulli(np.full_like(means, means[leader]), pooled)
    log_chance = special.log_ndtr(-np.sqrt(2.0 * gap))
    log_chance[leader] = -np.inf
    shares: FloatArray = special.softmax(log_chance)
    return shares
