"""The deadline of a call to Redis: one timer, and one more look before it counts."""

from __future__ import annotations

import asyncio
from types import TracebackType

# When this process itself was held up, the answer may lie in the socket already: the loop gets
# one more look before the deadline counts. (uvloop runs timers before it reads.)
GRACE_SECONDS = 0.005


class Deadline:
    """Raises `TimeoutError` in its body when that takes longer and the answer is not there yet."""

    __slots__ = ("_loop", "_scope", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        await self._scope.__aenter__()
        self._timer = self._loop.call_later(self._seconds, self._look_once_more)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _look_once_more(self) -> None:
        self._scope.reschedule(self._loop.time() + GRACE_SECONDS)
