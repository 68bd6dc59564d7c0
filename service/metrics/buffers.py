"""Histograms that cost a request almost nothing: counted in lists, handed on by `flush`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Histogram


class Distribution(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add a count per edge, the last one for what is above all edges, and their sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class _Pending:
    """Observations of one label that wait for `flush`."""

    __slots__ = ("counts", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0


class Buffered:
    """A histogram with one label or none ('' then stands for it), filled from a buffer."""

    def __init__(self, target: Distribution, edges: Sequence[float]) -> None:
        self._target = target
        self._edges = edges
        self._pending: dict[str, _Pending] = {}

    def observe(self, label: str, value: float) -> None:
        """Count a value."""
        pending = self._pending.get(label)
        if pending is None:
            pending = self._pending[label] = _Pending(self._edges)
        pending.counts[bisect_left(self._edges, value)] += 1
        pending.total += value

    def flush(self) -> None:
        """Hand on what was counted."""
        pending, self._pending = self._pending, {}
        for label, observed in list(pending.items()):
            target = self._target.labels(label) if label else self._target
            target.add(observed.counts, observed.total)
