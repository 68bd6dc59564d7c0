"""A gate: a proxy that holds one request, or the answer to it, for a scenario to do its deed."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.proxy import CHUNK_BYTES, FaultProxy, _Link

REACHED_SECONDS_MAX = 40.0  # A worker that was killed keeps its lease for ten.


@dataclass(slots=True, eq=False, kw_only=True)
class Gate(FaultProxy):
    """Holds the first request in which all marks came, in their order, and all that follows it.

    With an `answer`, the request passes; the reply in which that comes is held.
    """

    marks: tuple[bytes, ...]
    answer: bytes | None = None
    memory_bytes: int = 0  # How far before the newest bytes the marks may have come.
    reached: threading.Event = field(default_factory=threading.Event)
    _asked: set[_Link] = field(default_factory=set)

    def wait(self) -> None:
        """Wait until something is held."""
        if not self.reached.wait(REACHED_SECONDS_MAX):
            raise RuntimeError(f"nobody said {self.marks!r}")

    async def _requests(self, link: _Link) -> None:
        said = b""
        with suppress(OSError):
            while chunk := await link.client[0].read(CHUNK_BYTES):
                said = (said + chunk)[-(len(chunk) + self.memory_bytes) :]
                if self._is_wanted(said):
                    if self.answer is None:
                        await self._hold()
                    self._asked.add(link)
                link.server[1].write(chunk)
                await link.server[1].drain()

    async def _replies_of(self, link: _Link) -> None:
        with suppress(OSError):
            while chunk := await link.server[0].read(CHUNK_BYTES):
                if link in self._asked and self.answer is not None and self.answer in chunk:
                    await self._hold()
                link.client[1].write(chunk)
                await link.client[1].drain()

    def _is_wanted(self, said: bytes) -> bool:
        place = 0
        for mark in self.marks:
            place = said.find(mark, place)
            if place < 0:
                return False
        return True

    async def _hold(self) -> None:
        """Never go on: whoever waits for what is held is killed, and then the link is reset."""
        self.reached.set()
        await asyncio.Event().wait()
