"""Policies that do not learn: an even split, and shares fixed in advance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.bandits.arrays import FloatArray
from service.bandits.evidence import ArmEvidence
from service.bandits.policy import PolicyParameterError


@dataclass(frozen=True, slots=True)
class Uniform:
    """Play every arm with the same probability, 1 / K: a classical test.

    Examples
    --------
    >>> Uniform().propensities(ArmEvidence.none(4))
    array([0.25, 0.25, 0.25, 0.25])
    """

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return 1 / K for every arm."""
        return np.full(evidence.n_arms, 1.0 / evidence.n_arms)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Play the arms with given shares.

    Parameters
    ----------
    shares
        One number >= 0 per arm, not all 0; normalised.

    Raises
    ------
    PolicyParameterError
        From `propensities`, if there is not one share per arm.

    Examples
    --------
    >>> Fixed(shares=(3, 1)).propensities(ArmEvidence.none(2))
    array([0.75, 0.25])
    """

    shares: Sequence[float]

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the shares, normalised."""
        shares = np.array(self.shares, dtype=np.float64)
        if shares.size != evidence.n_arms:
            raise PolicyParameterError(
                f"fixed needs one share per variant, {evidence.n_arms}, not {shares.size}"
            )
        # Scaling by the largest first keeps the sum finite.
        scaled = shares / shares.max()
        result: FloatArray = scaled / scaled.sum()
        return result
