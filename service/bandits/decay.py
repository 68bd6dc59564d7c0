"""The pure step from hourly evidence buckets to effective statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.bandits.arrays import FloatArray, IntArray
from service.bandits.evidence import ArmEvidence

# A bucket holds the decisions of one hour; on average they were made at its middle.
_MIDDLE_HOURS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class BucketArrays:
    """Hold the evidence of an experiment as columns, one row per arm and hour.

    Parameters
    ----------
    arm
        Arm indices, shape (B,), each in 0..K-1.
    hour
        Hours of the decisions since the Unix epoch, shape (B,).
    pulls
        Decisions of that arm in that hour, shape (B,).
    conversions
        Those of them that have converted by now, shape (B,).
    """

    arm: IntArray
    hour: IntArray
    pulls: FloatArray
    conversions: FloatArray


def effective_evidence(
    buckets: BucketArrays, n_arms: int, now_hours: float, half_life_hours: float | None
) -> ArmEvidence:
    """Return the evidence as it counts now, older buckets counting less.

    Parameters
    ----------
    buckets
        The evidence, in any order; several rows of one arm and hour add up.
    n_arms
        Number of arms K; arms without a bucket have no evidence.
    now_hours
        The time to look from, in hours since the Unix epoch.
    half_life_hours
        Age at which evidence counts half, > 0; None for evidence that never ages.

    Raises
    ------
    ValueError
        If the half-life is not positive.

    Notes
    -----
    A bucket weighs ``2 ** (-age / half_life)``, age being that of its middle and at least 0.
    Pulls and conversions of a decision share one weight, that of the decision's hour, so
    ageing changes how sure we are and not which rate we believe. All arms age alike,
    whether they are pulled or not.

    Examples
    --------
    >>> column = lambda *numbers: np.array(numbers, dtype=float)
    >>> hours = np.array([0, 24])
    >>> buckets = BucketArrays(np.array([0, 1]), hours, column(100, 100), column(10, 20))
    >>> effective_evidence(buckets, 2, 24.5, half_life_hours=24.0).pulls
    array([ 50., 100.])
    """
    weight = _weights(buckets.hour, now_hours, half_life_hours)

    def total(column: FloatArray) -> FloatArray:
        sums = np.zeros(n_arms)
        np.add.at(sums, buckets.arm, weight * column)
        return sums

    return ArmEvidence(pulls=total(buckets.pulls), successes=total(buckets.conversions))


def _weights(hour: IntArray, now_hours: float, half_life_hours: float | None) -> FloatArray:
    if half_life_hours is None:
        return np.ones(hour.size)
    if not half_life_hours > 0:
        raise ValueError("half-life must be positive")
    age = np.maximum(0.0, now_hours - (hour + _MIDDLE_HOURS))
    weight: FloatArray = np.exp2(-age / half_life_hours)
    return weight
