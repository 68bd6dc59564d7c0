"""Effective sufficient statistics of every arm: all that a policy may look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.bandits.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ArmEvidence:
    """Hold the effective pulls and successes of all arms of one experiment.

    Parameters
    ----------
    pulls
        Effective pulls, shape (K,), each >= 0. Sends still in flight are counted, so a
        pull without a success may yet become one.
    successes
        Effective converted decisions, shape (K,), each >= 0.

    Raises
    ------
    ValueError
        If the shapes differ, are not (K,) with K >= 1, or a number is negative or not finite.

    Notes
    -----
    ``successes <= pulls`` is not guaranteed: a reward may reach the ledger before the decision
    that it belongs to. Policies clip.
    """

    pulls: FloatArray
    successes: FloatArray

    def __post_init__(self) -> None:
        if self.pulls.ndim != 1 or self.pulls.shape != self.successes.shape or not self.pulls.size:
            raise ValueError("pulls and successes need one number per arm, at least one arm")
        for numbers in (self.pulls, self.successes):
            if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
                raise ValueError("pulls and successes must be finite and not negative")

    @classmethod
    def none(cls, n_arms: int) -> ArmEvidence:
        """Return the evidence of an experiment that has sent nothing yet."""
        return cls(pulls=np.zeros(n_arms), successes=np.zeros(n_arms))

    @property
    def n_arms(self) -> int:
        """Return the number of arms, K."""
        return int(self.pulls.size)
