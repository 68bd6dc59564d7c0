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
from service.sla import HOUR, MONTH, Window
from service.store.service_level_ports import ServiceLevelStore

KEPT_MS = {MINUTE_MS: 2 * HOUR_MS, HOUR_MS: 31 * DAY_MS}  # How long, by length of the stretches.
SPAN_MS = {HOUR: MINUTE_MS, MONTH: HOUR_MS}  # What a window is counted in.
CELLS_AT_ONCE = 2_000  # Of one transaction.
ANSWER_SECONDS_MAX = 2.0  # Then this process answers for itself.
CLOSE_SECONDS_MAX = 1.0
FORGET_MS = 10 * MINUTE_MS
PAST_MS = 5 * MINUTE_MS  # A month is 150,000 rows: those of the past are read no more often.


class _PastHours:
    """The sums of the hours that are over, read every few minutes, with those of the last ones."""

    def __init__(self) -> None:
        self._sums: Counts = {}
        self._until_ms = 0
        self._read_at_ms: int | None = None

    async def sums(self, store: ServiceLevelStore, since_ms: int, now_ms: int) -> Counts:
        """Return the sums of all hours since a time."""
        read_at_ms = self._read_at_ms
        if read_at_ms is None or not read_at_ms <= now_ms < read_at_ms + PAST_MS:
            # Who flushes late adds to an hour that has ended: the last one is not settled yet.
            until_ms = now_ms - now_ms % HOUR_MS - 2 * HOUR_MS
            self._sums = await store.sums(HOUR_MS, since_ms, until_ms)
            self._until_ms, self._read_at_ms = until_ms, now_ms
        recent = await store.sums(HOUR_MS, max(since_ms, self._until_ms))
        return Counter(dict(self._sums)) + Counter(dict(recent))


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
    _past: _PastHours = field(default_factory=_PastHours, init=False)
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
        now_ms = self.clock.now_ms()
        hour, month = _since_ms(HOUR, now_ms), _since_ms(MONTH, now_ms)
        minutes = await self.store.sums(MINUTE_MS, hour)
        hours = await self._past.sums(self.store, month, now_ms)
        by_window = {
            HOUR.name: _added(minutes, untold, MINUTE_MS, hour),
            MONTH.name: _added(hours, untold, HOUR_MS, month),
        }
        return service_levels(by_window, now_ms)

    async def _of_own(self) -> ServiceLevels:
        now_ms = self.clock.now_ms()
        by_window = {
            HOUR.name: await self.own.sums(MINUTE_MS, _since_ms(HOUR, now_ms)),
            MONTH.name: await self.own.sums(HOUR_MS, _since_ms(MONTH, now_ms)),
        }
        return service_levels(by_window, now_ms, covers=THIS_PROCESS)

    def _show(self, levels: ServiceLevels) -> None:
        for level in levels.routes:
            is_met = level.verdict != "broken"
            self.metrics.show(level.route, hourly_quantiles(level), is_met=is_met)
            for name, window in level.windows.items():
                good = 1.0 if window.good_share is None else window.good_share
                self.metrics.show_window(level.route, name, good, window.error_budget_left)


def _since_ms(window: Window, now_ms: int) -> int:
    return now_ms - window.seconds * SECOND_MS


def _added(counted: Counts, untold: Mapping[Cell, int], span_ms: int, since_ms: int) -> Counts:
    """Return counts with those that the store was not told yet."""
    total: Counter[Bucket] = Counter(dict(counted))
    for cell, count in untold.items():
        if cell.span_ms == span_ms and cell.start_ms > since_ms:
            total[cell.bucket] += count
    return total
