"""Carry out erasures: at once in the ledger, and again until no outbox can bring the unit back.

A record that was in an outbox when the erasure was asked for reaches the ledger later, and stays in
its segment until that is deleted. So the ledger is passed over again, ever more seldom, and a last
time once all segments of then are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.clock import DAY_MS, MINUTE_MS, SECOND_MS, Clock
from service.domain.erasure import Erasure
from service.logs import logger
from service.metrics import Metrics
from service.store.outbox_ports import OutboxReader
from service.store.privacy_ports import ErasureStore, Quarantine

PAUSE_FIRST_MS = SECOND_MS
PAUSE_MAX_MS = 10 * MINUTE_MS
# Other machines' workers tell SQL of a new segment when they commit the first records of it.
SETTLED_MS = MINUTE_MS
# A machine that never comes back leaves its segments in SQL; nobody waits for it for ever.
GIVE_UP_MS = 7 * DAY_MS

_log = logger(__name__)


@dataclass(slots=True)
class _Pace:
    """When a request was first seen here, and when the ledger is to be passed over again."""

    seen_at_ms: int
    next_at_ms: int
    pause_ms: int = PAUSE_FIRST_MS


class Eraser:
    """Finds out each second what is to be erased; one pass over the ledger serves all requests."""

    def __init__(
        self,
        store: ErasureStore,
        outbox: OutboxReader,
        quarantine: Quarantine,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._quarantine = quarantine
        self._clock = clock
        self._metrics = metrics
        self._paces: dict[str, _Pace] = {}

    async def turn(self) -> None:
        """Pass over the ledger for the requests whose time has come."""
        pending = await self._store.pending()
        self._metrics.privacy.erasures_pending(len(pending))
        now_ms = self._clock.monotonic_ms()
        self._paces = {each.id: self._paces.get(each.id, _Pace(now_ms, now_ms)) for each in pending}
        if not pending:
            return
        # Looked at before the ledger is: the records of a segment that is gone are all there.
        standing = await self._segments()
        due = [each for each in pending if self._is_due(each, standing, now_ms)]
        if due:
            await self._pass_over(due, standing)

    async def _segments(self) -> set[str]:
        own = {segment.name for segment in self._outbox.segments()}
        return own | await self._store.committed_segments()

    def _is_due(self, erasure: Erasure, standing: set[str], now_ms: int) -> bool:
        return now_ms >= self._paces[erasure.id].next_at_ms or self._is_last(erasure, standing)

    def _is_last(self, erasure: Erasure, standing: set[str]) -> bool:
        """Whether nothing from before the request is on its way to the ledger any more."""
        if not erasure.unit:
            return True
        if erasure.segments is None or not self._is_settled(erasure):
            return False
        if self._clock.now_ms() - erasure.requested_at_ms > GIVE_UP_MS:
            _log.warning("erasure_waited_in_vain", erasure=erasure.id)
            return True
        return standing.isdisjoint(erasure.segments)

    def _is_settled(self, erasure: Erasure) -> bool:
        waited_ms = self._clock.monotonic_ms() - self._paces[erasure.id].seen_at_ms
        return waited_ms >= SETTLED_MS

    async def _pass_over(self, due: Sequence[Erasure], standing: set[str]) -> None:
        rows = await self._store.erase([erasure for erasure in due if erasure.unit])
        await asyncio.to_thread(self._quarantine.erase, due)
        self._metrics.privacy.rows_wiped("erasure", rows)
        if rows:
            _log.info("rows_erased", requests=len(due), rows=rows)
        for erasure in due:
            if self._is_last(erasure, standing):
                await self._end(erasure)
            else:
                await self._go_on(erasure, standing)

    async def _go_on(self, erasure: Erasure, standing: set[str]) -> None:
        if not self._is_settled(erasure) or erasure.segments is None:
            await self._store.wait_for(erasure.id, sorted(standing.union(erasure.segments or ())))
        pace = self._paces[erasure.id]
        pace.next_at_ms = self._clock.monotonic_ms() + pace.pause_ms
        pace.pause_ms = min(PAUSE_MAX_MS, 2 * pace.pause_ms)

    async def _end(self, erasure: Erasure) -> None:
        """Forget the unit; done is only what the database's own files do not hold either."""
        if erasure.unit:
            await self._store.forget(erasure)
        if await self._store.scrub():
            await self._store.finish(erasure.id, self._clock.now_ms())
            _log.info("erasure_done", erasure=erasure.id)
