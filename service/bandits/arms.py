"""The allocator's questions in plain numbers: effective counts, integer weights, moved or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from service.bandits.arrays import FloatArray
from service.bandits.decay import BucketArrays, effective_evidence
from service.bandits.evidence import ArmEvidence
from service.bandits.propensity import integer_weights, moved, with_floor
from service.bandits.registry import make_policy


class Counts(NamedTuple):
    """Effective pulls and successes, one number per arm.

    Parameters
    ----------
    pulls, successes
        Each >= 0, in the order of the arms.
    """

    pulls: tuple[float, ...]
    successes: tuple[float, ...]

    def of(self, arms: Sequence[int]) -> Counts:
        """Return the counts of some arms only."""
        return Counts(
            tuple(self.pulls[arm] for arm in arms), tuple(self.successes[arm] for arm in arms)
        )


def effective_counts(
    rows: Sequence[tuple[int, int, int, int]],
    n_arms: int,
    now_hours: float,
    half_life_hours: float | None,
) -> Counts:
    """Return evidence rows as they count now.

    Parameters
    ----------
    rows
        (arm, hour since the Unix epoch, pulls, conversions), in any order.
    n_arms
        Number of arms K.
    now_hours
        The time to look from, in hours since the Unix epoch.
    half_life_hours
        Age at which evidence counts half; None for evidence that never ages.
    """
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    buckets = BucketArrays(
        arm=table[:, 0],
        hour=table[:, 1],
        pulls=table[:, 2].astype(np.float64),
        conversions=table[:, 3].astype(np.float64),
    )
    evidence = effective_evidence(buckets, n_arms, now_hours, half_life_hours)
    return Counts(tuple(evidence.pulls.tolist()), tuple(evidence.successes.tolist()))


def allocated_weights(
    policy: str, parameters: Mapping[str, Any], counts: Counts, floor: float
) -> tuple[int, ...]:
    """Return a policy's answer as integer weights that sum to 2**32, the floor mixed in.

    Parameters
    ----------
    policy, parameters
        As the registry knows them.
    counts
        Effective evidence of the arms to choose from, at least one.
    floor
        Least propensity wished for.
    """
    evidence = ArmEvidence(pulls=np.array(counts.pulls), successes=np.array(counts.successes))
    propensities = make_policy(policy, parameters).propensities(evidence)
    return tuple(integer_weights(with_floor(propensities, floor)))


def have_moved(old: Sequence[int], new: Sequence[int]) -> bool:
    """Tell whether integer weights moved enough to be written as a new version.

    Parameters
    ----------
    old, new
        Weights in force and those just computed, each with one sum.
    """
    return moved(_shares(old), _shares(new))


def _shares(weights: Sequence[int]) -> FloatArray:
    total = max(1, sum(weights))
    return np.array(weights, dtype=np.float64) / total
