"""What the watch over data quality counts and remembers."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

from msgspec import Struct


class CheckState(IntEnum):
    """How bad it is; too little data to tell is no worse than good data."""

    ok = 0
    warning = 1
    alarm = 2


class QualityState(Struct, frozen=True):
    """What one check last said of an experiment, and since when it is in this state."""

    experiment: int
    check: str
    state: CheckState
    since_ms: int
    checked_at_ms: int
    sentence: str
    figures: dict[str, float] = {}


class Outcome(StrEnum):
    """What became of a reward that came; the first five are named as callers are answered."""

    accepted = "accepted"
    duplicate = "duplicate"
    ignored = "ignored"
    late = "late"
    queued = "queued"
    invalid = "invalid"  # Refused with 422: a value or a time that cannot be.
    unknown = "unknown"  # Refused with 404: no id of ours, so of no experiment.
    found = "found"  # Recorded, and its decision stood in the ledger a while later.
    orphan = "orphan"  # Recorded, and its decision did not.


NO_EXPERIMENT = 0  # What unknown ids are tallied under.


class TallyKey(NamedTuple):
    """What rewards are tallied by; `hour` is that of their arrival, in hours since the epoch."""

    experiment: int
    hour: int
    outcome: Outcome


class Tally(Struct):
    """How many came, and of the accepted ones the extremes.

    Values are in micro-units; `lag_ms` is the longest from the event to its report.
    """

    count: int = 0
    largest_micros: int = 0
    smallest_micros: int = 0
    lag_ms: int = 0


def joined(one: Tally, other: Tally) -> Tally:
    """Return two tallies as one; an empty one has no extremes."""
    if not one.count or not other.count:
        return one if one.count else other
    return Tally(
        one.count + other.count,
        max(one.largest_micros, other.largest_micros),
        min(one.smallest_micros, other.smallest_micros),
        max(one.lag_ms, other.lag_ms),
    )


class HourCounts(NamedTuple):
    """The evidence of one variant and decision hour, as far as its quality is concerned."""

    variant: int
    hour: int
    pulls: int
    conversions: int
    value_micros: int
    value_micros_squared: int
    delays: dict[int, int]  # Bin of DELAY_EDGES_MS -> first conversions.
