"""Scrapes as an API process answers them: what it counted itself, and what others make of all."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from service.metrics.catalogue import Metrics
from service.metrics.scraper import LENGTH_BYTES
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

    It is started by the first scrape, and again when it has ended.
    """

    def __init__(self, metrics: Metrics, shared: SharedMetrics | None = None) -> None:
        """Without a shared directory there is one process to tell of: this one."""
        self._metrics = metrics
        self._shared = shared
        self._scraper: Process | None = None
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
        is_told = False
        try:
            if self._scraper is None or self._scraper.returncode is not None:
                self._scraper = await _start(shared)
            text = await _ask(self._scraper)
            is_told = True
        finally:
            if not is_told:
                await self._end()
        return text

    async def _end(self, patience_seconds: float = 0.0) -> None:
        scraper, self._scraper = self._scraper, None
        if scraper is None:
            return
        if scraper.stdin is not None:
            scraper.stdin.close()
        try:
            await asyncio.wait_for(scraper.wait(), patience_seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                scraper.kill()
            await scraper.wait()


async def _start(shared: SharedMetrics) -> Process:
    return await asyncio.create_subprocess_exec(
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


async def _ask(scraper: Process) -> bytes:
    if scraper.stdin is None or scraper.stdout is None:
        raise EOFError
    scraper.stdin.write(b"\n")
    await scraper.stdin.drain()
    length = int.from_bytes(await scraper.stdout.readexactly(LENGTH_BYTES))
    return await scraper.stdout.readexactly(length)
