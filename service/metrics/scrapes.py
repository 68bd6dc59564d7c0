"""Scrapes as an API process answers them: what it counted itself, and what others make of all."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from service.metrics.catalogue import Metrics
from service.metrics.scraper import LENGTH_BYTES, READY
from service.metrics.shared import SharedMetrics, render_shared

CONTENT_TYPE = CONTENT_TYPE_LATEST
ANSWER_SECONDS_MAX = 5.0
END_SECONDS_MAX = 1.0
_BUFFER_BYTES = 4 * 1024 * 1024
# A deadline is an OSError; uvloop raises RuntimeError for a write to what has been closed.
_GONE = (OSError, EOFError, RuntimeError)

_log = structlog.get_logger(__name__)


class Scrapes:
    """Has a process of its own make the text: choices share no interpreter with that.

    It is started by the first scrape, and again when it has ended. A scrape that it keeps waiting
    is made by a thread; it may be starting on a machine that has no time for it.
    """

    def __init__(self, metrics: Metrics, shared: SharedMetrics | None = None) -> None:
        """Without a shared directory there is one process to tell of: this one."""
        self._metrics = metrics
        self._shared = shared
        self._scraper: asyncio.Task[Process] | None = None
        self._turn = asyncio.Lock()

    async def text(self) -> bytes:
        """Return the text of a scrape, with all that this process has counted until now."""
        self._metrics.flush()
        if self._shared is None:
            return await asyncio.to_thread(self._metrics.render)
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    return await self._asked(self._shared)
            except _GONE as error:
                _log.warning("scraper_failed", reason=type(error).__name__)
        return await asyncio.to_thread(render_shared, self._shared.directory)

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end(END_SECONDS_MAX)

    async def _asked(self, shared: SharedMetrics) -> bytes:
        """Ask the process; one that was not heard to the end is never asked again."""
        scraper = await self._started(shared)
        is_told = False
        try:
            text = await _ask(scraper)
            is_told = True
        finally:
            if not is_told:
                await self._end()
        return text

    async def _started(self, shared: SharedMetrics) -> Process:
        if self._scraper is None or _has_ended(self._scraper):
            self._scraper = asyncio.create_task(_start(shared))
        return await asyncio.shield(self._scraper)  # Whoever gives up lets it go on starting.

    async def _end(self, patience_seconds: float = 0.0) -> None:
        scraper, self._scraper = self._scraper, None
        if scraper is not None:
            scraper.cancel()
            await asyncio.wait({scraper})
            if not _has_ended(scraper):
                await _stop(scraper.result(), patience_seconds)


def _has_ended(scraper: asyncio.Task[Process]) -> bool:
    """Whether it did not start, or is gone."""
    if not scraper.done():
        return False
    if scraper.cancelled() or scraper.exception() is not None:
        return True
    return scraper.result().returncode is not None


async def _start(shared: SharedMetrics) -> Process:
    scraper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "service.metrics.scraper",
        str(shared.directory.absolute()),
        stdin=PIPE,
        stdout=PIPE,
        limit=_BUFFER_BYTES,
        start_new_session=True,  # Ctrl-C is for us to hear.
    )
    is_ready = False
    try:
        await _read(scraper, len(READY))
        is_ready = True
    finally:
        if not is_ready:
            await _stop(scraper, 0.0)
    return scraper


async def _stop(scraper: Process, patience_seconds: float) -> None:
    if scraper.stdin is not None:
        scraper.stdin.close()
    try:
        await asyncio.wait_for(scraper.wait(), patience_seconds)
    except TimeoutError:
        with suppress(ProcessLookupError):
            scraper.kill()
        await scraper.wait()


async def _ask(scraper: Process) -> bytes:
    if scraper.stdin is None:
        raise EOFError
    scraper.stdin.write(b"\n")
    await scraper.stdin.drain()
    return await _read(scraper, int.from_bytes(await _read(scraper, LENGTH_BYTES)))


async def _read(scraper: Process, count: int) -> bytes:
    if scraper.stdout is None:
        raise EOFError
    return await scraper.stdout.readexactly(count)
