"""Loops that never die silently: a turn that fails is logged, counted and tried again later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from service.domain.clock import Clock
from service.errors import UnavailableError
from service.logs import logger
from service.metrics import Metrics

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0

_log = logger(__name__)


@dataclass(slots=True, kw_only=True)
class Loop:
    """Repeats a turn; `pause` tells how long to wait after one, from what it returned."""

    name: str
    turn: Callable[[], Awaitable[object]]
    pause: Callable[[object], float]
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]  # Between 0 and 1: so that workers do not come back in step.
    first_after_seconds: float = 0.0
    _failures: int = field(default=0, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until told to stop; a turn under way is finished first."""
        seconds = self.first_after_seconds
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
                return
            seconds = await self.once()

    async def once(self) -> float:
        """Take one turn and return how long to wait before the next."""
        try:
            outcome = await self.turn()
        except Exception as error:  # noqa: BLE001  A loop outlives whatever its turn meets.
            return self._failed(error)
        self._failures = 0
        self.metrics.loop_succeeded(self.name, self.clock.now_ms())
        return self.pause(outcome)

    def _failed(self, error: Exception) -> float:
        self.metrics.loop_failed(self.name)
        # What is merely away says so once, at the place that noticed; a bug says so every time.
        if not isinstance(error, UnavailableError):
            _log.error("loop_failed", loop=self.name, exc_info=error)
        elif not self._failures:
            _log.warning("loop_waits", loop=self.name, reason=type(error).__name__)
        longest = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return longest * (0.5 + 0.5 * self.jitter())


def every(seconds: float) -> Callable[[object], float]:
    """Return a pause of always the same length."""
    return lambda _: seconds
