"""Keep one child running, and replace it without a gap when asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.logs import logger
from service.supervisor.process import Child, ReadyPipe, Running

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
STEADY_SECONDS = 10.0  # A child that ran so long starts its back-off anew.
READY_SECONDS_MAX = 60.0  # For one that replaces another.

Start = Callable[[Child, int | None], Awaitable[Running]]

_log = logger(__name__)


class Keeper:
    """Runs a child again and again until its end is wished."""

    def __init__(
        self,
        child: Child,
        start: Start,
        on_exit: Callable[[int], None],
        on_failure: Callable[[Child, int], None],
    ) -> None:
        """`on_exit` gets the id of each process that ended, `on_failure` the ends in a row."""
        self.child = child
        self._start = start
        self._on_exit = on_exit
        self._on_failure = on_failure
        self._end = asyncio.Event()
        self._wish: asyncio.Future[bool] | None = None  # To be replaced.
        self._wished = asyncio.Event()

    async def run(self) -> None:
        """Keep it running until `end`."""
        failures = 0
        while not self._end.is_set():
            started = time.perf_counter()
            try:
                code = await self._run_once()
            except OSError as error:  # No memory or no process left: there will be some again.
                _log.error("child_not_started", child=self.child.name, error=str(error))
                code = None
            if self._end.is_set():
                break
            ran_seconds = time.perf_counter() - started
            failures = 1 if ran_seconds > STEADY_SECONDS else failures + 1
            _log.error(
                "child_ended", child=self.child.name, code=code, seconds=round(ran_seconds, 1)
            )
            self._on_failure(self.child, failures)
            seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** (failures - 1))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), seconds)
        self._answer(is_replaced=False)

    def end(self) -> None:
        """End the child in order, and keep it no longer."""
        self._end.set()

    async def replace(self) -> bool:
        """Start the child anew; return whether it was, False also when it is at its end."""
        if self._end.is_set():
            return False
        self._wish = asyncio.get_running_loop().create_future()
        self._wished.set()
        return await self._wish

    async def _run_once(self) -> int:
        running = await self._start(self.child, None)
        self._answer(is_replaced=True)  # Whoever wished for a new one while none ran has it.
        while await self._is_to_be_replaced(running):
            running = await self._replaced(running)
        await self._ended(running)
        return await running.exited

    async def _is_to_be_replaced(self, running: Running) -> bool:
        await _first(running.exited, self._end.wait(), self._wished.wait())
        return not running.exited.done() and not self._end.is_set()

    async def _replaced(self, old: Running) -> Running:
        """Return the child that runs from now on."""
        if not self.child.hands_over:
            await self._ended(old)
            new = await self._start(self.child, None)
            self._answer(is_replaced=True)
            return new
        try:
            successor = await self._successor()
        except OSError as error:
            _log.error("child_not_started", child=self.child.name, error=str(error))
            successor = None
        if successor is not None:
            await self._ended(old)
        self._answer(is_replaced=successor is not None)
        return successor or old

    async def _successor(self) -> Running | None:
        """Start the next process; None, with it ended, unless it says that it is ready."""
        pipe = ReadyPipe()
        try:
            new = await self._start(self.child, pipe.writer)
            pipe.close_writer()
            await _first(pipe.told, self._end.wait(), timeout=READY_SECONDS_MAX)
            is_ready = pipe.told.done() and pipe.told.result()
        finally:
            pipe.close()
        if is_ready:
            return new
        _log.error("successor_not_ready", child=self.child.name, pid=new.pid)
        await self._ended(new)
        return None

    async def _ended(self, running: Running) -> None:
        await running.end()
        self._on_exit(running.pid)

    def _answer(self, *, is_replaced: bool) -> None:
        if self._wish is not None:
            self._wish.set_result(is_replaced)
            self._wish = None
            self._wished.clear()


async def _first(
    future: asyncio.Future[bool] | asyncio.Task[int],
    *waits: Awaitable[object],
    timeout: float | None = None,  # noqa: ASYNC109  That of `asyncio.wait`.
) -> None:
    """Wait until one of them is done; the future itself is never cancelled."""
    others = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait({future, *others}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for other in others:
            other.cancel()
