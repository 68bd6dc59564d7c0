"""Evidence by hour of decision as arrays, and how conversions come in as decisions age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from service.bandits.arrays import FloatArray


class Hour(NamedTuple):
    """One variant's decisions of one hour; `delays` are first conversions by delay bin."""

    variant: int
    hour: int
    pulls: int
    conversions: int
    value: float
    value_squared: float
    delays: Mapping[int, int]


class Grid(NamedTuple):
    """Evidence by variant and hour, from the hour `start` on.

    Parameters
    ----------
    start
        The first hour, in hours since the epoch.
    pulls, conversions, values, squares
        Of shape (variants, hours).
    delays
        First conversions, of shape (variants, hours, bins).
    """

    start: int
    pulls: FloatArray
    conversions: FloatArray
    values: FloatArray
    squares: FloatArray
    delays: FloatArray


def grid_of(rows: Sequence[Hour], start: int, end: int, bins: int) -> Grid:
    """Return evidence as arrays.

    Parameters
    ----------
    rows
        Those outside the hours are left out.
    start, end
        The first hour, and the one after the last.
    bins
        How many bins the histogram of delays has.
    """
    variants = 1 + max((row.variant for row in rows), default=0)
    sums = np.zeros((4, variants, end - start))
    delays = np.zeros((variants, end - start, bins))
    for row in rows:
        at = row.hour - start
        if 0 <= at < end - start:
            sums[:, row.variant, at] = row.pulls, row.conversions, row.value, row.value_squared
            for index, count in row.delays.items():
                delays[row.variant, at, index] = count
    pulls, conversions, values, squares = sums
    return Grid(start, pulls, conversions, values, squares, delays)


def edges_of(edges: Sequence[float]) -> FloatArray:
    """Return the upper edges of a histogram's bins as an array.

    Parameters
    ----------
    edges
        In hours, rising.
    """
    return np.array(edges, float)


def incidence(grid: Grid, edges: FloatArray, as_of: float) -> FloatArray:
    """Return conversions per decision by delay bin, of decisions old enough to have had them.

    Parameters
    ----------
    grid
        The evidence.
    edges
        Upper edges of the bins in hours, shape (bins - 1,); the last bin has none, and is 0 here.
    as_of
        When the evidence was read, in hours since the epoch.

    Returns
    -------
    FloatArray
        Of shape (variants, bins).

    Notes
    -----
    p_b = sum of conversions in bin b / sum of pulls, both over the hours that had ended by
    as_of - edge_b. A plain rate would take conversions still to come for none at all; this ratio is
    unbiased within each variant however the sends were split over time, which an overall one is
    not. Reports that come long after the event make it too low for the newest hours.
    """
    hours = grid.pulls.shape[1]
    ends = grid.start + np.arange(hours) + 1.0
    is_old = ends[:, None] <= as_of - edges[None, :]  # (hours, bins - 1)
    pulls = grid.pulls @ is_old
    events = np.einsum("vhb,hb->vb", grid.delays[:, :, :-1], is_old.astype(float))
    found = np.zeros((grid.pulls.shape[0], len(edges) + 1))
    found[:, :-1] = np.divide(events, pulls, out=np.zeros_like(pulls), where=pulls > 0)
    return found


def arrivals(grid: Grid, rates: FloatArray, edges: FloatArray, until: float) -> FloatArray:
    """Return how many conversions are to be expected in every hour.

    Parameters
    ----------
    grid
        Its pulls are what conversions come from.
    rates
        What `incidence` returned, shape (variants, bins).
    edges
        Upper edges of the bins in hours.
    until
        The end of the last hour, in hours since the epoch; that hour may be a part of one.

    Returns
    -------
    FloatArray
        Of every hour from the grid's first one to the one that holds `until`.

    Notes
    -----
    Of a decision of age a, F(a) conversions have come, F being the sums of `rates`, linear within
    a bin. Decisions are taken to be made in the middle of their hour.
    """
    hours = int(np.ceil(until)) - grid.start
    ages = np.arange(hours) + 0.5  # Of a decision at the end of its own hour and of later ones.
    ages = np.concatenate(([0.0], ages))
    knots = np.concatenate(([0.0], edges))
    total = np.zeros(hours)
    for pulls, own in zip(grid.pulls, rates, strict=True):
        cumulated = np.concatenate(([0.0], np.cumsum(own[:-1])))
        steps = np.diff(np.interp(ages, knots, cumulated))
        total += np.convolve(pulls, steps)[:hours] if len(pulls) else 0.0
    total[-1] *= 1.0 - (np.ceil(until) - until)
    return total
