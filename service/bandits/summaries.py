"""Single numbers that tell operators how far an experiment has learned."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, nan


def entropy_ratio(propensities: Sequence[float]) -> float:
    """Return how evenly an allocation is spread, as a share of what is possible.

    Parameters
    ----------
    propensities
        Of the arms that may be chosen, shape (K,), each >= 0, sum 1.

    Returns
    -------
    float
        1 when all arms are equally likely, 0 when one is certain; not a number for fewer than two
        arms, which leave nothing to be unsure of.

    Notes
    -----
    Shannon's entropy ``-sum(p log p)`` over its largest value ``log K``.

    Examples
    --------
    >>> entropy_ratio([0.5, 0.5]), entropy_ratio([1.0, 0.0])
    (1.0, 0.0)
    """
    if len(propensities) <= 1:
        return nan
    entropy = sum(p * log(p) for p in propensities if p > 0)
    return max(0.0, -entropy) / log(len(propensities))


def histogram_quantile(counts: Sequence[float], edges: Sequence[float], share: float) -> float:
    """Return the value below which a share of what a histogram counted lies.

    Parameters
    ----------
    counts
        How many lie in each bin, shape (B + 1,); the first bin begins at 0, the last has no end.
    edges
        Upper ends of all bins but the last, shape (B,), each above the one before and above 0.
    share
        The share wished for, in [0, 1].

    Returns
    -------
    float
        Interpolated evenly within a bin; the last edge for what lies above it, of which no more
        is known; not a number when nothing was counted.

    Examples
    --------
    >>> histogram_quantile([0, 4, 0], [60.0, 120.0], 0.5)
    90.0
    """
    total = sum(counts)
    if total <= 0:
        return nan
    below = 0.0
    start = 0.0
    for count, edge in zip(counts, edges, strict=False):
        if count and below + count >= share * total:
            return start + (edge - start) * max(0.0, share * total - below) / count
        below, start = below + count, edge
    return start
