"""What each worker does for its own outbox: keep the quarantine free of erased and old units."""

from __future__ import annotations

import asyncio

from service.domain.clock import DAY_MS, Clock
from service.logs import logger
from service.store.privacy_ports import ErasureStore, Quarantine

_log = logger(__name__)


class Quarantines:
    """Needs no lease: no other worker sees these files."""

    def __init__(
        self, store: ErasureStore, quarantine: Quarantine, clock: Clock, days: int | None
    ) -> None:
        """`days` is how long files are kept; None: for ever."""
        self._store = store
        self._quarantine = quarantine
        self._clock = clock
        self._days = days

    async def turn(self) -> None:
        """Wipe what pending erasures mean, and remove what is older than may be kept."""
        pending = await self._store.pending()
        wiped = await asyncio.to_thread(self._quarantine.erase, pending) if pending else 0
        removed = 0
        if self._days is not None:
            before_ms = self._clock.now_ms() - self._days * DAY_MS
            removed = await asyncio.to_thread(self._quarantine.expire, before_ms)
        if wiped or removed:
            _log.info("quarantine_cleaned", wiped=wiped, removed=removed)
