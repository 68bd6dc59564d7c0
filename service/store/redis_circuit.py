"""Keep callers from waiting for a Redis that is known to be gone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog

from service.errors import RedisUnavailableError

PAUSE_SECONDS = 0.25  # Between probes, and the least time that callers are turned away.

_log = structlog.get_logger(__name__)


class Circuit:
    """Closed while Redis answers; after a failure, callers are refused until a probe succeeds.

    The probe runs beside the callers, so none of them pays a deadline to find out.
    `note` is told of every change: True when it opens, False when a probe succeeded.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], note: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._probe = probe
        self._note = note
        self._open_until = 0.0  # In seconds of the event loop's clock.
        self._open_at_least_until = 0.0
        self._is_failing = False
        self._is_closed = False
        self._probing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise `RedisUnavailableError` while open."""
        if not self._open_until:
            return
        now = asyncio.get_running_loop().time()
        if now >= self._open_until:
            self._open_until = 0.0
            _log.info("redis_back")
            return
        if self._open_until == math.inf:
            self._start_probe()  # One runs already, unless it met a defect.
        raise RedisUnavailableError("Redis is unavailable")

    def failed(self, error: BaseException) -> None:
        """Open, and find out at once whether that was all."""
        if self._is_closed:
            return
        self._open(error)
        self._start_probe()

    def doubted(self) -> None:
        """Stay closed unless a probe fails."""
        if not self._open_until:
            self._start_probe()

    async def close(self) -> None:
        """End a probe under way, begin none any more, and refuse all callers."""
        self._is_closed = True
        self._open_until = math.inf
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])

    def _open(self, error: BaseException) -> None:
        if not self._open_until:
            _log.warning("redis_unavailable", error=repr(error))
        self._open_until = math.inf
        self._open_at_least_until = asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._tell(is_failing=True)

    def _tell(self, *, is_failing: bool) -> None:
        if is_failing != self._is_failing:
            self._is_failing = is_failing
            self._note(is_failing)

    def _start_probe(self) -> None:
        if self._is_closed:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._run_probe())

    async def _run_probe(self) -> None:
        while not await self._has_answered():  # noqa: ASYNC110  Another machine comes back.
            await asyncio.sleep(PAUSE_SECONDS)
        if self._open_until:
            now = asyncio.get_running_loop().time()
            self._open_until = max(self._open_at_least_until, now)
            self._tell(is_failing=False)

    async def _has_answered(self) -> bool:
        try:
            await self._probe()
        except RedisUnavailableError as error:
            self._open(error)
            return False
        return True
