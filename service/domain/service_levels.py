"""How many answers a promised route gave, by verdict and time: what service levels are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec


class Bucket(NamedTuple):
    """Answers alike: of one objective, one verdict, and a time up to an edge."""

    route: str  # The objective's name.
    is_bad: bool
    upto_us: int  # An edge itself, not its number: rows outlive a change of the edges.


class Cell(NamedTuple):
    """A bucket in a stretch of time, a minute or an hour."""

    span_ms: int
    start_ms: int
    bucket: Bucket


Counts = Mapping[Bucket, int]


class LevelFlush(msgspec.Struct, frozen=True):
    """What a process counted since its last flush; each is added once, however often it is sent."""

    writer: str  # A process's life.
    sequence: int  # From 1 on, in the order of its flushes.
    at_ms: int
    cells: dict[Cell, int]


def cells_of(counts: Counts, at_ms: int, *spans_ms: int) -> dict[Cell, int]:
    """Return counts as those of the stretches of time that a moment lies in."""
    return {
        Cell(span_ms, at_ms - at_ms % span_ms, bucket): count
        for span_ms in spans_ms
        for bucket, count in counts.items()
    }
