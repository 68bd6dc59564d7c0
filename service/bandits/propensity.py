"""Plain operations on an allocation: the floor, integer weights, and what counts as a move."""

from __future__ import annotations

import numpy as np

from service.bandits.arrays import FloatArray

WEIGHT_TOTAL = 2**32

# At most a fifth of all sends goes to exploration by the floor, however many arms there are.
_FLOOR_TOTAL_MAX = 0.2

_MOVE_ABSOLUTE = 0.005
_MOVE_RELATIVE = 0.1
_SMALL = 0.05
# 0.105 - 0.1 is 0.00499..9 in binary; the rule is meant for decimals.
_ROUNDING = 1e-12


def with_floor(propensities: FloatArray, floor: float) -> FloatArray:
    """Return the propensities mixed with an even share, so that none is below the floor.

    Parameters
    ----------
    propensities
        Shape (K,), sum 1.
    floor
        Least propensity wished for, in [0, 1].

    Raises
    ------
    ValueError
        If the floor is outside [0, 1].

    Notes
    -----
    The effective floor is ``f = min(floor, 0.2 / K)`` and the result ``f + (1 - K f) p``.

    Examples
    --------
    >>> with_floor(np.array([1.0, 0.0]), 0.01)
    array([0.99, 0.01])
    """
    if not 0.0 <= floor <= 1.0:
        raise ValueError("the exploration floor must be between 0 and 1")
    n_arms = propensities.size
    effective = min(floor, _FLOOR_TOTAL_MAX / n_arms)
    return effective + (1.0 - n_arms * effective) * propensities


def integer_weights(propensities: FloatArray) -> list[int]:
    """Return integer weights that sum to 2**32 exactly, by the largest remainder.

    Parameters
    ----------
    propensities
        Shape (K,), each >= 0, sum about 1.

    Raises
    ------
    ValueError
        If an entry is negative or not finite, or none is positive.

    Notes
    -----
    Each weight differs from ``p * 2**32`` by less than 1, except that an arm with any
    propensity at all keeps a weight of at least 1: a logged propensity of zero could never
    be inverted by an analyst. The largest weights pay for that.

    Examples
    --------
    >>> integer_weights(np.array([0.5, 0.25, 0.25]))
    [2147483648, 1073741824, 1073741824]
    """
    total = propensities.sum()
    if not (np.isfinite(total) and total > 0 and (propensities >= 0).all()):
        raise ValueError("propensities must be finite, not negative and not all zero")
    exact = propensities / total * WEIGHT_TOTAL
    weights = np.floor(exact).astype(np.int64)
    remainder = exact - weights
    weights[(weights == 0) & (propensities > 0)] = 1
    missing = WEIGHT_TOTAL - int(weights.sum())
    if missing > 0:
        weights[np.argsort(-remainder, kind="stable")[:missing]] += 1
    # Rounding can leave a few units either way; the largest weight hardly notices them.
    weights[np.argmax(weights)] += WEIGHT_TOTAL - int(weights.sum())
    return [int(weight) for weight in weights]


def moved(old: FloatArray, new: FloatArray) -> bool:
    """Tell whether an allocation moved enough to be written as a new version.

    Parameters
    ----------
    old, new
        Propensities in force and those just computed.

    Notes
    -----
    True if any propensity moved by 0.005, or by 10 % of itself where it was below 0.05, or if
    the number of arms changed.

    Examples
    --------
    >>> moved(np.array([0.99, 0.01]), np.array([0.9895, 0.0105]))
    False
    >>> moved(np.array([0.99, 0.01]), np.array([0.988, 0.012]))
    True
    """
    if old.shape != new.shape:
        return True
    change = np.abs(new - old)
    limit = np.where(old < _SMALL, np.minimum(_MOVE_ABSOLUTE, _MOVE_RELATIVE * old), _MOVE_ABSOLUTE)
    return bool(((change >= limit - _ROUNDING) & (change > _ROUNDING)).any())
