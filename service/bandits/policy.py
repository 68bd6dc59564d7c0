"""What every policy is: a rule from evidence to propensities."""

from __future__ import annotations

from typing import Protocol

from service.bandits.arrays import FloatArray
from service.bandits.evidence import ArmEvidence


class PolicyParameterError(ValueError):
    """A policy was asked for by an unknown name or with parameters it cannot have."""


class Policy(Protocol):
    """Answer with the whole allocation; hold parameters only, never evidence."""

    def propensities(self, evidence: ArmEvidence) -> FloatArray:
        """Return the probability of each arm for the next send.

        Parameters
        ----------
        evidence
            What is known of each of the K arms. It is not changed.

        Returns
        -------
        Shape (K,), every entry >= 0, sum 1 within 1e-9. The same evidence gives the same
        numbers, and relabelling the arms relabels them.
        """
        ...
