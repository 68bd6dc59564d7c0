"""Epsilon-greedy: mostly the leader, sometimes anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.bandits.arrays import FloatArray
from service.bandits.evidence import ArmEvidence


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """Share epsilon of the sends evenly and give the rest to the leader.

    Parameters
    ----------
    epsilon
        Share that explores, in [0, 1].

    Notes
    -----
    The leader is the arm with the highest posterior mean under a uniform prior,
    ``(1 + s) / (2 + n)`` with s clipped to n; tied leaders share. The prior lets an arm that
    was never sent lead until its mean is known to be worse. Regret grows with T: the share
    epsilon never learns.

    References
    ----------
    Sutton and Barto, 2018, Reinforcement learning, an introduction.

    Examples
    --------
    >>> evidence = ArmEvidence(pulls=np.array([100.0, 100.0]), successes=np.array([10.0, 12.0]))
    >>> EpsilonGreedy(epsilon=0.1).propensities(evidence)
    array([0.05, 0.95])
    """

    epsilon: float = 0.1

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return an even share of epsilon, plus the rest for the leader or leaders."""
        successes = np.minimum(evidence.successes, evidence.pulls)
        means = (1.0 + successes) / (2.0 + evidence.pulls)
        leaders = (means == means.max()).astype(np.float64)
        exploit: FloatArray = (1.0 - self.epsilon) * leaders / leaders.sum()
        return self.epsilon / evidence.n_arms + exploit
