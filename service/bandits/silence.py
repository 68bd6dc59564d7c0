"""Whether a silence is longer than what was sent, and the silences before, explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.bandits.arrays import FloatArray


class Silence(NamedTuple):
    """What should have come since the last one, and in the longest silences before it."""

    expected: float
    longest: float


def silence(expected: FloatArray, has_come: Sequence[bool], last: float) -> Silence:
    """Return how much is missing, measured in events rather than in hours.

    Parameters
    ----------
    expected
        Events to be expected in each hour, the last one being now.
    has_come
        Whether any came in it.
    last
        When the last one came, in hours from the start of the first hour.

    Returns
    -------
    Silence
        `expected` since the last event, and the most that was to be expected in a silence that
        ended and had an hour in it without any. Shorter ones cannot be told by the hour.

    Notes
    -----
    With independent events the probability of silence is exp(-expected). Reports that come in one
    delivery a night are not independent: their silences were long before, and only one that is
    longer than those means something. Measured by what was to be expected, a night without sends is
    no silence, and that of a week-end is a short one.

    Examples
    --------
    >>> came = [True, False, False, True, True, False]
    >>> silence(np.full(6, 2.0), came, 4.5)
    Silence(expected=3.0, longest=6.0)
    """
    until = np.concatenate(([0.0], np.cumsum(expected)))
    came = np.flatnonzero(np.array(has_come, bool))
    middles = (until[came] + until[came + 1]) / 2.0
    gaps = np.diff(middles)[np.diff(came) > 1]
    missing = until[-1] - np.interp(last, np.arange(len(until)), until)
    return Silence(float(missing), float(gaps.max()) if len(gaps) else 0.0)
