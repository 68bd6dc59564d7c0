"""The retention: units and contexts of old decisions are wiped, for all units alike."""

from __future__ import annotations

from service.domain.clock import DAY_MS, Clock
from service.logs import logger
from service.metrics import Metrics
from service.store.privacy_ports import RetentionStore

DAYS_MIN = 3  # The replay memory is restored from decisions of 48 hours, and outboxes may be late.
BATCH_MAX = 1_000
# What an outbox brought late lies behind the watermark: once a day it is looked for there.
LOOK_BACK_MS = 7 * DAY_MS

_log = logger(__name__)


class Retention:
    """Wipes a batch each turn; SQL knows how far it has come."""

    def __init__(
        self, store: RetentionStore, clock: Clock, metrics: Metrics, days: int | None
    ) -> None:
        """`days` is how long a unit is kept; None: for ever."""
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._days = days
        self._since_ms: int | None = None
        self._looked_back_ms = 0

    async def turn(self) -> bool:
        """Wipe one batch; return whether there is more."""
        if self._days is None:
            return False
        before_ms = self._clock.now_ms() - self._days * DAY_MS
        since_ms = await self._start()
        expired = await self._store.expire(since_ms, before_ms, BATCH_MAX)
        self._since_ms = expired.until_ms
        self._metrics.privacy.rows_wiped("retention", expired.rows)
        if expired.rows:
            _log.info("rows_expired", rows=expired.rows)
        return expired.until_ms < before_ms

    async def _start(self) -> int:
        now_ms = self._clock.monotonic_ms()
        if self._since_ms is not None and now_ms - self._looked_back_ms < DAY_MS:
            return self._since_ms
        self._looked_back_ms = now_ms
        return max(0, await self._store.watermark_ms() - LOOK_BACK_MS)
