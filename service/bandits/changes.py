"""Whether the newest hours convert otherwise than the ones before, variant by variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from service.bandits.arrays import FloatArray
from service.bandits.hours import Grid

# Rates differ between sends by so much at least (coefficient of variation), whatever a short
# history pretends: another list of recipients, another hour, another subject line.
VARIATION_MIN = 0.1
BLOCKS_MIN = 4.0  # Effective number of stretches of history that must tell how much they differ.
EXPECTED_MIN = 15.0  # Fewer events to be expected tell nothing.
HISTORY_EVENTS_MIN = 50.0
AGES = (1.0, 8.0, 24.0)  # Hours; a change in fast conversions shows within one.
STRETCHES = (1, 6, 24, 72)  # Hours that are compared with all before them.


class Change(NamedTuple):
    """What came, what history let expect, and how probable so large a difference would be.

    `spread` is the coefficient of variation that whole stretches of history show; `hours` is how
    long the newest stretch is, and `age` the one that conversions were counted up to (0: any).
    """

    observed: float
    expected: float
    spread: float
    probability: float
    hours: int
    age: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times the expected number came; 1 where none was expected."""
        return self.observed / self.expected if self.expected else 1.0


def rate_change(pulls: FloatArray, events: FloatArray, newest: int) -> Change | None:
    """Compare the events of the newest hours with what the hours before let expect.

    Parameters
    ----------
    pulls, events
        Of shape (variants, hours): decisions, and those of them that converted by a certain age,
        which all of them have reached.
    newest
        How many hours at the end are compared with the others.

    Returns
    -------
    Change or None
        With a two-sided probability; None where there is too little to tell.

    Notes
    -----
    Within a variant, p_v = events / pulls of its history; E = sum over variants of p_v times its
    newest pulls. So a split that moved changes nothing, and neither does one variant's history for
    another one. The number that comes is negative binomial with mean E and variance E + c E^2.

    c, the variation between stretches as long as the newest one, is learned from history by the
    method of moments: c = (sum (Y_b - E_b)^2 - sum E_b) / sum E_b^2. Its own uncertainty is added:
    two standard errors for counts, sqrt(2 / sum E_b^2), and a factor 1 + 2 sqrt(2 / k), where
    k = (sum E_b^2)^2 / sum E_b^4 is the effective number of stretches. So is the uncertainty of the
    rates, sum n_v^2 p_v / N_v / E^2, which is large for a variant that is new and sent much.
    """
    before, now = pulls[:, :-newest], pulls[:, -newest:].sum(axis=1)
    came, observed = events[:, :-newest], float(events[:, -newest:].sum())
    total, converted = before.sum(axis=1), came.sum(axis=1)
    if converted.sum() < HISTORY_EVENTS_MIN:
        return None
    # A variant without history takes the rate of all with the weight of one decision.
    overall = converted.sum() / total.sum()
    rates = (converted + overall) / (total + 1.0)
    expected = float(rates @ now)
    spread = _variation(rates @ before, came.sum(axis=0), newest)
    if expected < EXPECTED_MIN or spread is None:
        return None
    unsure = float((now**2 * rates / (total + 1.0)).sum()) / expected**2
    variation = max(spread, VARIATION_MIN**2) + unsure
    size = 1.0 / variation
    law = stats.nbinom(size, size / (size + expected))
    tail = min(float(law.cdf(observed)), float(law.sf(observed - 1.0)))
    return Change(observed, expected, float(np.sqrt(spread)), min(1.0, 2.0 * tail), newest)


def _stretches(hours: FloatArray, length: int) -> FloatArray:
    """Return the sums of stretches so many hours long, the oldest hours that make none left out."""
    count = len(hours) // length
    sums: FloatArray = hours[len(hours) - count * length :].reshape(count, length).sum(axis=1)
    return sums


def _variation(expected: FloatArray, came: FloatArray, newest: int) -> float | None:
    """Return c of stretches of history, with its own uncertainty added; None for too few."""
    expected, came = _stretches(expected, newest), _stretches(came, newest)
    squares = float((expected**2).sum())
    if not squares:
        return None
    effective = squares**2 / float((expected**4).sum())
    if effective < BLOCKS_MIN:
        return None
    found = (float(((came - expected) ** 2).sum()) - float(expected.sum())) / squares
    widened = max(0.0, found) * (1.0 + 2.0 * np.sqrt(2.0 / effective))
    return float(widened + 2.0 * np.sqrt(2.0 / squares))


def value_change(
    counts: FloatArray, values: FloatArray, squares: FloatArray, newest: int
) -> Change | None:
    """Compare the mean value of a conversion in the newest hours with the hours before.

    Parameters
    ----------
    counts, values, squares
        Of shape (variants, hours): decisions that converted, the sums of their values, and of the
        squares of these.
    newest
        How many hours at the end are compared with the others.

    Returns
    -------
    Change or None
        `observed` and `expected` are sums of value; None where there is too little to tell.

    Notes
    -----
    A mean of values is as good of young decisions as of old ones. With m_v and s_v^2 the mean and
    variance within a variant's history, the newest sum has the mean M = sum m_v n_v and the
    variance sum s_v^2 n_v + c M^2 + sum s_v^2 n_v^2 / N_v, c as in `rate_change`. The tail is that
    of Student's t with as many degrees of freedom as there are effective stretches, as sums of
    revenue have heavy ones.
    """
    before, now = counts[:, :-newest], counts[:, -newest:].sum(axis=1)
    total, worth = before.sum(axis=1), values[:, :-newest].sum(axis=1)
    is_known = total > 1.0  # Or else there is no variance.
    if total.sum() < HISTORY_EVENTS_MIN or now[is_known].sum() < EXPECTED_MIN:
        return None
    safe = np.where(is_known, total, 1.0)
    means = np.where(is_known, worth / safe, 0.0)
    within = np.maximum(0.0, squares[:, :-newest].sum(axis=1) / safe - means**2) * is_known
    expected, observed = float(means @ now), float(values[is_known, -newest:].sum())
    noise = float(within @ before.sum(axis=1))
    learned = _value_variation(
        means @ before, values[is_known, :-newest].sum(axis=0), noise, newest
    )
    if learned is None or not expected:
        return None
    spread, freedom = learned
    variance = float((within * (now + now**2 / safe)).sum())
    variance += max(spread, VARIATION_MIN**2) * expected**2
    probability = 2.0 * float(stats.t.sf(abs(observed - expected) / np.sqrt(variance), freedom))
    return Change(observed, expected, float(np.sqrt(spread)), min(1.0, probability), newest)


def _value_variation(
    expected: FloatArray, came: FloatArray, noise: float, newest: int
) -> tuple[float, float] | None:
    """Return c of stretches beyond the noise within them, and how many there are in effect."""
    expected, came = _stretches(expected, newest), _stretches(came, newest)
    squares = float((expected**2).sum())
    effective = squares**2 / float((expected**4).sum()) if squares else 0.0
    if effective < BLOCKS_MIN:
        return None
    found = max(0.0, float(((came - expected) ** 2).sum()) - noise) / squares
    return float(found * (1.0 + 2.0 * np.sqrt(2.0 / effective))), effective


def newest_rates(grid: Grid, edges: FloatArray, as_of: float) -> list[Change]:
    """Compare the newest hours with the ones before at several ages, over several stretches.

    Parameters
    ----------
    grid
        The evidence; its conversions are counted by their delay, so that a young decision is
        compared with what old ones had done when they were as young.
    edges
        Upper edges of the bins of delay in hours; each of `AGES` must be among them.
    as_of
        Up to when all that happened has been reported, in hours since the epoch.

    Returns
    -------
    list
        A change for every age and stretch that has enough to tell.
    """
    changes: list[Change] = []
    for age in AGES:
        end = int(np.floor(as_of - age)) - grid.start
        if end <= 0:
            continue
        bins = int(np.searchsorted(edges, age, side="right"))
        events = grid.delays[:, :end, :bins].sum(axis=2)
        for newest in (stretch for stretch in STRETCHES if stretch < end):
            change = rate_change(grid.pulls[:, :end], events, newest)
            if change is not None:
                changes.append(change._replace(age=age))
    return changes


def newest_values(grid: Grid, as_of: float) -> list[Change]:
    """Compare what a conversion is worth in the newest hours with the ones before.

    Parameters
    ----------
    grid
        The evidence.
    as_of
        In hours since the epoch.
    """
    end = int(np.floor(as_of)) - grid.start
    sums = (grid.conversions[:, :end], grid.values[:, :end], grid.squares[:, :end])
    changes = [value_change(*sums, newest) for newest in STRETCHES if newest < end]
    return [change for change in changes if change is not None]


def least_probable(changes: Sequence[Change], ratio_min: float) -> Change | None:
    """Return the least probable change that is large enough to matter, or None.

    Parameters
    ----------
    changes
        Several looks at the same data.
    ratio_min
        By what part of the expected number the observed one must differ at least.
    """
    large = [change for change in changes if abs(change.ratio - 1.0) >= ratio_min]
    return min(large, key=lambda change: change.probability, default=None)
