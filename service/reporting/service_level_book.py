"""Keeps the books of the service levels: from what a process counted to what all of them did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from service.domain.service_levels import Bucket, Cell, Counts, LevelFlush, cells_of
from service.errors import UnavailableError
from service.metrics import ServiceLevelMetrics
from service.reporting.service_levels import (
    THIS_PROCESS,
    ServiceLevels,
    hourly_quantiles,
    service_levels,
)
from service.sla import HOUR, MONTH
from service.store.service_level_ports import ServiceLevelStore

KEPT_MS = {MINUTE_MS: 2 * HOUR_MS, HOUR_MS: 31 * DAY_MS}  # How long, by length of the stretches.
SPAN_MS = {HOUR: MINUTE_MS, MONTH: HOUR_MS}  # What a window is counted in.
CELLS_AT_ONCE = 2_000  # Of one transaction.
ANSWER_SECONDS_MAX = 2.0  # Then this process answers for itself.
CLOSE_SECONDS_MAX = 1.0
FORGET_MS = 10 * MINUTE_MS


@dataclass(slots=True, kw_only=True)
class ServiceLevelBook:
    """Add what this process counted to the store, and tell the levels of all processes.

    Parameters
    ----------
    metrics
        Where answers are counted, and where the levels are shown.
    store
        What all processes share.
    own
        What this process counted, kept in memory for when the store is away.
    clock
        Says in which minute an answer was counted; that is up to a turn late.
    writer
        The name of this process's life, which no other has.

    Notes
    -----
    While the store is away, what it was not told waits here, bounded by the stretches that are
    kept. A flush whose outcome is not known is sent again and added once. A process that is killed
    loses what it counted since its last turn.
    """

    metrics: ServiceLevelMetrics
    store: ServiceLevelStore
    own: ServiceLevelStore
    clock: Clock
    writer: str
    _pending: Counter[Cell] = field(default_factory=Counter, init=False)
    _flush: LevelFlush | None = field(default=None, init=False)  # Perhaps added, perhaps not.
    _sequence: int = field(default=0, init=False)
    _own_sequence: int = field(default=0, init=False)
    _forget_at_ms: int = field(default=0, init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def turn(self) -> None:
        """Tell the store what was counted, and show the levels as metrics.

        Raises
        ------
        LedgerUnavailableError
            The store is away; then the levels shown are this process's own.
        """
        await self._collect()
        try:
            async with self._lock:
                await self._send()
                levels = await self._of_all()
            await self._forget(self.store)
        except UnavailableError:
            self._show(await self._of_own())
            raise
        self._show(levels)

    async def answer(self) -> ServiceLevels:
        """Return the levels of all processes, or of this one while the store is away."""
        await self._collect()
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._lock:
                return await self._of_all()
        return await self._of_own()

    async def close(self) -> None:
        """Tell the store the last of it, if that takes no long."""
        await self._collect()
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX), self._lock:
                await self._send()

    async def _collect(self) -> None:
        now_ms = self.clock.now_ms()
        cells = cells_of(self.metrics.take(), now_ms, *KEPT_MS)
        self._pending.update(cells)
        self._own_sequence += 1
        await self.own.add(LevelFlush(self.writer, self._own_sequence, now_ms, cells))
        for span_ms, kept_ms in KEPT_MS.items():
            await self.own.forget(span_ms, now_ms - kept_ms)
        old = [c for c in self._pending if c.start_ms < now_ms - KEPT_MS[c.span_ms]]
        for cell in old:
            del self._pending[cell]

    async def _send(self) -> None:
        while self._flush is not None or self._pending:
            self._flush = self._flush or self._next_flush()
            await self.store.add(self._flush)
            self._flush = None

    def _next_flush(self) -> LevelFlush:
        self._sequence += 1
        cells = {cell: self._pending.pop(cell) for cell in sorted(self._pending)[:CELLS_AT_ONCE]}
        return LevelFlush(self.writer, self._sequence, self.clock.now_ms(), cells)

    async def _forget(self, store: ServiceLevelStore) -> None:
        now_ms = self.clock.now_ms()
        if now_ms < self._forget_at_ms:
            return
        for span_ms, kept_ms in KEPT_MS.items():
            await store.forget(span_ms, now_ms - kept_ms)
        self._forget_at_ms = now_ms + FORGET_MS

    async def _of_all(self) -> ServiceLevels:
        untold = Counter(self._pending)
        if self._flush is not None:
            untold.update(self._flush.cells)
        return await self._levels(self.store, untold)

    async def _of_own(self) -> ServiceLevels:
        return await self._levels(self.own, {}, THIS_PROCESS)

    async def _levels(
        self, store: ServiceLevelStore, untold: Mapping[Cell, int], *covers: str
    ) -> ServiceLevels:
        now_ms = self.clock.now_ms()
        by_window = {}
        for window, span_ms in SPAN_MS.items():
            since_ms = now_ms - window.seconds * SECOND_MS
            counted = await store.sums(span_ms, since_ms)
            by_window[window.name] = _added(counted, untold, span_ms, since_ms)
        return service_levels(by_window, now_ms, **({"covers": covers[0]} if covers else {}))

    def _show(self, levels: ServiceLevels) -> None:
        for level in levels.routes:
            is_met = level.verdict != "broken"
            self.metrics.show(level.route, hourly_quantiles(level), is_met=is_met)
            for name, window in level.windows.items():
                good = 1.0 if window.good_share is None else window.good_share
                self.metrics.show_window(level.route, name, good, window.error_budget_left)


def _added(counted: Counts, untold: Mapping[Cell, int], span_ms: int, since_ms: int) -> Counts:
    """Return counts with those that the store was not told yet."""
    total: Counter[Bucket] = Counter(dict(counted))
    for cell, count in untold.items():
        if cell.span_ms == span_ms and cell.start_ms > since_ms:
            total[cell.bucket] += count
    return total
