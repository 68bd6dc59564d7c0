"""The UCB family in whole-send form: the shares that an index gives to the next batch of sends.

An index names one arm, and one arm must not get a send of 500,000 only because no reward has
come back yet. So each policy here plays its index forward over a next batch as large as all
pulls so far (at least 1,000): pull the arm with the largest index, let its pulls grow with its
mean held, and go on. In the limit of small steps that is a water level: there is one level
to which the batch lowers the indices of the arms it uses, and an arm's share is what it needs to
come down to that level. The level is solved for directly, so there are no steps, no ties
to break, and the shares are continuous in the evidence. Tied arms end with equal pulls:
under sampling noise they stay near 1 / K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from service.bandits.arrays import FloatArray
from service.bandits.bernoulli import kl_shift
from service.bandits.evidence import ArmEvidence
from service.bandits.indices import PULLS_MIN, bayes_ucb_index, exploration

# The next batch is as large as everything sent so far: evidence has to double before an
# allocation could be wrong for long. The minimum keeps the first sends of all arms together.
_BATCH_MIN = 1000.0
_ROUNDS_MAX = 60
_SHARE_ERROR = 1e-10
_CUBIC_STEPS = 8


@dataclass(frozen=True, slots=True)
class Ucb1:
    """Share the next batch by the index m + sqrt(2 ln t / n) (UCB1).

    Notes
    -----
    At level q an arm has ``n = 2 ln t / (q - m)**2`` pulls. The bound ignores that low
    rates vary little, so at e-mail rates it stays close to an even split for long.

    References
    ----------
    Auer, Cesa-Bianchi and Fischer, 2002, Finite-time analysis of the multiarmed bandit problem.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 108.0]))
    >>> Ucb1().propensities(evidence).round(3)
    array([0.413, 0.587])
    """

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the shares of the next batch that equalise the indices of the arms used."""
        batch = _Batch.after(evidence)
        return batch.shares(lambda gap: 2.0 * batch.budget / gap**2)


@dataclass(frozen=True, slots=True)
class Ucb1Tuned:
    """Share the next batch by the index m + sqrt(ln t / n min(1/4, V)) (UCB1-Tuned).

    Notes
    -----
    ``V = m (1 - m) + sqrt(2 ln t / n)``. With ``w = sqrt(ln t / n)``, level q is reached at the
    larger root w of ``w**2 / 4 = g**2`` and ``sqrt(2) w**3 + m (1 - m) w**2 = g**2``, g = q - m.

    References
    ----------
    Auer, Cesa-Bianchi and Fischer, 2002, Finite-time analysis of the multiarmed bandit problem.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 108.0]))
    >>> Ucb1Tuned().propensities(evidence).round(3)
    array([0.264, 0.736])
    """

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the shares of the next batch that equalise the indices of the arms used."""
        batch = _Batch.after(evidence)
        variance = batch.means * (1.0 - batch.means)
        return batch.shares(lambda gap: batch.budget / _tuned_width(gap, variance) ** 2)


@dataclass(frozen=True, slots=True)
class KlUcb:
    """Share the next batch by the largest q with n kl(m, q) <= ln t + c ln ln t (KL-UCB).

    Parameters
    ----------
    c
        Weight of the ln ln t term, >= 0: 0 in practice, 3 only in the proof.

    Notes
    -----
    At level q an arm has ``n = (ln t + c ln ln t) / kl(m, q)`` pulls. Regret meets the
    Lai-Robbins bound, also at rates of one per cent.

    References
    ----------
    Garivier and Cappe, 2011, The KL-UCB algorithm for bounded stochastic bandits and beyond.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 108.0]))
    >>> KlUcb().propensities(evidence).round(3)
    array([0.235, 0.765])
    """

    c: float = 0.0

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the shares of the next batch that equalise the indices of the arms used."""
        batch = _Batch.after(evidence)
        budget = exploration(batch.total, self.c)
        means = _below_certainty(batch)
        return batch.shares(lambda gap: budget / kl_shift(means, gap), means)


@dataclass(frozen=True, slots=True)
class BayesUcb:
    """Share the next batch by the posterior quantile at 1 - 1 / t (Bayes-UCB).

    Notes
    -----
    The index is the quantile of ``Beta(1 + s, 1 + n - s)``; x further sends make the shapes
    ``1 + s + m x`` and ``1 + n - s + (1 - m) x``. The quantile q nearly obeys
    ``(n + 2 + x) kl(m, q) = b`` with b constant in x, so the level is found as for KL-UCB and
    each arm's b corrected by its exact quantile until nothing moves.

    References
    ----------
    Kaufmann, Cappe and Garivier, 2012, On Bayesian upper confidence bounds for bandit problems.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([1000.0, 1000.0]), successes=np.array([100.0, 108.0]))
    >>> BayesUcb().propensities(evidence).round(3)
    array([0.2, 0.8])
    """

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the shares of the next batch that equalise the indices of the arms used."""
        batch = _Batch.after(evidence)
        means = _below_certainty(batch)
        successes = np.minimum(evidence.successes, evidence.pulls)
        shares = np.full(evidence.n_arms, 1.0 / evidence.n_arms)
        for _ in range(_ROUNDS_MAX):
            sent = shares * batch.size
            index = bayes_ucb_index(
                PULLS_MIN * 2 + batch.pulls + sent, successes + means * sent, batch.total
            )
            # Rates within rounding of 0 or 1 must leave a gap that is neither nothing nor all.
            gap = np.clip(index - means, 1e-12 * means + 1e-300, (1.0 - 1e-12) * (1.0 - means))
            budget = (batch.pulls + 2.0 + sent) * kl_shift(means, gap)
            previous = shares
            shares = batch.shares(_posterior_pulls(means, budget), means)
            if float(np.abs(shares - previous).max()) < _SHARE_ERROR:
                break
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The next batch of sends: where it starts, how large it is, and how to share it."""

    pulls: FloatArray
    means: FloatArray
    size: float

    @classmethod
    def after(cls, evidence: ArmEvidence) -> _Batch:
        """Return the batch that follows the sends counted in the evidence."""
        successes = np.minimum(evidence.successes, evidence.pulls)
        known = evidence.pulls > PULLS_MIN
        safe = np.where(known, evidence.pulls, 1.0)
        total = float(evidence.pulls.sum())
        # An arm without pulls is taken for an average one until it has some of its own.
        pooled = float(successes.sum()) / total if known.any() else 0.0
        means = np.where(known, successes / safe, pooled)
        return cls(evidence.pulls, means, max(_BATCH_MIN, total))

    @property
    def total(self) -> float:
        """Return the number of all pulls at the end of the batch, t."""
        return float(self.pulls.sum()) + self.size

    @property
    def budget(self) -> float:
        """Return ln t."""
        return exploration(self.total)

    def shares(
        self, pulls_at: Callable[[FloatArray], FloatArray], means: FloatArray | None = None
    ) -> FloatArray:
        """Return each arm's share of the batch.

        Parameters
        ----------
        pulls_at
            The pulls at which the arms' indices are given gaps above their means, decreasing.
        means
            Means to hold; by default the arms' own.
        """
        held = self.means if means is None else means
        below = held.max() - held
        # The index of an untried arm is infinite: one pull comes first, whatever the level.
        first = min(1.0, 0.5 * self.size / held.size)

        def sent(log_gap: float) -> FloatArray:
            wanted = np.maximum(pulls_at(below + np.exp(log_gap)), first)
            return np.maximum(0.0, wanted - self.pulls)

        def excess(log_gap: float) -> float:
            used = min(float(sent(log_gap).sum()), 1e6 * self.size)
            return (used - self.size) / (used + self.size)

        high = low = 0.0
        while excess(high) > 0:
            high += 1.0
        while excess(low) < 0:
            low -= 1.0
        result = sent(optimize.brentq(excess, low, high, xtol=1e-14))
        shares: FloatArray = result / result.sum()
        return shares


def _below_certainty(batch: _Batch) -> FloatArray:
    """Return the means, none above the posterior mean of an arm that never failed.

    With a mean of exactly 1 an index would not fall with further pulls, and one lucky send
    out of one would be given the whole batch.
    """
    return np.minimum(batch.means, (batch.pulls + 1.0) / (batch.pulls + 2.0))


def _posterior_pulls(means: FloatArray, budget: FloatArray) -> Callable[[FloatArray], FloatArray]:
    return lambda gap: budget / kl_shift(means, gap) - 2.0


def _tuned_width(gap: FloatArray, variance: FloatArray) -> FloatArray:
    """Return w with w**2 min(1/4, variance + sqrt(2) w) = gap**2."""
    target = gap**2
    spread = np.maximum(variance, 1e-300)
    width = np.minimum(np.cbrt(target / np.sqrt(2.0)), gap / np.sqrt(spread))
    # Both bounds lie right of the root of a convex cubic: Newton descends onto it.
    for _ in range(_CUBIC_STEPS):
        value = (np.sqrt(2.0) * width + variance) * width**2 - target
        width = width - value / ((3.0 * np.sqrt(2.0) * width + 2.0 * variance) * width)
    result: FloatArray = np.maximum(width, 2.0 * gap)
    return result
