"""A fault proxy: bytes pass between two sockets until a scenario says otherwise."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeAlias

CHUNK_BYTES = 1 << 16
LINGER_NOT = struct.pack("ii", 1, 0)  # Closing a TCP socket then sends RST instead of FIN.

Address: TypeAlias = Path | tuple[str, int]  # A Unix socket, or host and port.
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Mode(Enum):
    """What happens to bytes; connections that are open when it changes are treated so too."""

    PASS = auto()
    DELAY = auto()  # Every request takes `delay_ms` longer.
    DELAY_ONCE = auto()  # The next request does.
    RESET_AFTER_APPLY = auto()  # The server answers; the client's connection is reset instead.
    BLACK_HOLE = auto()  # Accepts, forwards nothing, never closes; all arrives once it ends.
    HALF_OPEN = auto()  # Requests arrive, answers do not.
    REFUSE = auto()  # Nobody listens, and open connections are reset.


@dataclass(slots=True, eq=False)
class _Link:
    client: Streams
    server: Streams

    def reset(self) -> None:
        """Close both sides at once; the client meets a reset, not an orderly end."""
        ours: socket.socket | None = self.client[1].get_extra_info("socket")
        if ours is not None and ours.family != socket.AF_UNIX:
            with suppress(OSError):
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        for _, writer in (self.client, self.server):
            writer.transport.abort()


@dataclass(slots=True)
class FaultProxy:
    """Listens on one address and forwards to another, in a thread of its own."""

    listen: Address
    upstream: Address
    _mode: Mode = Mode.PASS
    _delay_ms: float = 0.0
    _every: int = 1
    resets: int = 0  # Connections that were reset instead of an answer.
    _replies: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[_Link] = field(default_factory=set)
    _listener: asyncio.Server | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> FaultProxy:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join()
        self._loop.close()

    def switch(self, mode: Mode, *, delay_ms: float = 0.0, every: int = 1) -> None:
        """Change what happens from now on; a reset after apply may spare all but each n-th."""
        self._do(self._switch(mode, delay_ms, every))

    def mend(self) -> None:
        """Let everything pass again, what was held back first."""
        self.switch(Mode.PASS)

    def lead_to(self, upstream: Address) -> None:
        """Forward to another server; the connections to the one before are reset."""
        self.upstream = upstream
        self.reset()

    def reset(self) -> None:
        """Reset every open connection."""
        self._do(self._reset())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        if isinstance(self.listen, Path):
            self._listener = await asyncio.start_unix_server(self._serve, self.listen)
        else:
            host, port = self.listen
            self._listener = await asyncio.start_server(self._serve, host, port)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
            self._listener = None

    async def _close(self) -> None:
        await self._switch(Mode.REFUSE, 0.0, 1)  # What was held back goes on, and meets its end.
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Aborted transports close in the loop's next turn.

    async def _switch(self, mode: Mode, delay_ms: float, every: int) -> None:
        self._mode, self._delay_ms, self._every = mode, delay_ms, every
        self._changed.set()
        self._changed = asyncio.Event()
        if mode is Mode.REFUSE:
            await self._stop_listening()
            await self._reset()
        elif self._listener is None:
            await self._open()

    async def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await _connected(self.upstream)
        except OSError:  # As if nobody listened here.
            writer.transport.abort()
            return
        link = _Link((reader, writer), server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._requests(link)),
            asyncio.create_task(self._replies_of(link)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, server[1]):
                end.close()
            self._links.discard(link)

    async def _requests(self, link: _Link) -> None:
        with suppress(OSError):
            while chunk := await link.client[0].read(CHUNK_BYTES):
                await self._until_not({Mode.BLACK_HOLE})
                if self._mode in (Mode.DELAY, Mode.DELAY_ONCE):
                    await self._delay()
                link.server[1].write(chunk)
                await link.server[1].drain()

    async def _replies_of(self, link: _Link) -> None:
        with suppress(OSError):
            while chunk := await link.server[0].read(CHUNK_BYTES):
                await self._until_not({Mode.BLACK_HOLE, Mode.HALF_OPEN})
                if self._mode is Mode.RESET_AFTER_APPLY:
                    self._replies += 1
                    if self._replies % self._every == 0:
                        self.resets += 1
                        link.reset()
                        return
                link.client[1].write(chunk)
                await link.client[1].drain()

    async def _until_not(self, modes: set[Mode]) -> None:
        while self._mode in modes:
            await self._changed.wait()

    async def _delay(self) -> None:
        seconds = self._delay_ms / 1_000
        if self._mode is Mode.DELAY_ONCE:
            self._mode = Mode.PASS
        await asyncio.sleep(seconds)


async def _connected(address: Address) -> Streams:
    if isinstance(address, Path):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)
