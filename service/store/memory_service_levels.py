"""Counts of answers in memory: to compare with, and what a process knows while SQL is away."""

from __future__ import annotations

from collections import Counter

from service.domain.clock import HOUR_MS
from service.domain.service_levels import Bucket, Cell, Counts, LevelFlush


class MemoryServiceLevelStore:
    """See `service.store.service_level_ports.ServiceLevelStore`."""

    def __init__(self) -> None:
        self._cells: Counter[Cell] = Counter()
        self._writers: dict[str, tuple[int, int]] = {}  # Sequence and time of the last one.

    async def add(self, flush: LevelFlush) -> bool:
        """Add what a process counted."""
        if flush.sequence <= self._writers.get(flush.writer, (0, 0))[0]:
            return False
        self._writers[flush.writer] = (flush.sequence, flush.at_ms)
        self._cells.update(flush.cells)
        return True

    async def sums(self, span_ms: int, since_ms: int, until_ms: int | None = None) -> Counts:
        """Return the sums of the stretches of one length that began in a time."""
        found: Counter[Bucket] = Counter()
        for cell, count in self._cells.items():
            is_within = until_ms is None or cell.start_ms <= until_ms
            if cell.span_ms == span_ms and cell.start_ms > since_ms and is_within:
                found[cell.bucket] += count
        return dict(found)

    async def forget(self, span_ms: int, before_ms: int) -> int:
        """Delete the stretches of one length that began before a time."""
        if span_ms == HOUR_MS:
            heard = self._writers.items()
            self._writers = {name: last for name, last in heard if last[1] >= before_ms}
        old = [c for c in self._cells if c.span_ms == span_ms and c.start_ms < before_ms]
        for cell in old:
            del self._cells[cell]
        return len(old)
