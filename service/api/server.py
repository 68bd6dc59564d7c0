"""Run the application under uvicorn, with the garbage collector out of the way of requests."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

BACKLOG = 2_048
KEEP_ALIVE_SECONDS = 75  # Longer than load balancers keep idle connections: 60 s, mostly.
END_SECONDS = 8  # For requests under way.
# Whatever stands after the start stays: collections that look at it cost 29 ms instead of 3.
GC_THRESHOLDS = (50_000, 50, 100)


# SQL runs on threads that let go of the interpreter at every statement: with Python's 5 ms they
# would wait longer to go on than for the database.
THREAD_SWITCH_SECONDS = 0.0005


class CorkedTransport:
    """A transport that joins what one turn of the loop writes.

    uvicorn writes the head and the body of an answer apart; together they cost one system call
    and one packet instead of two.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._call_soon = asyncio.get_running_loop().call_soon
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write soon."""
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what is there, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        # A client that hung up since the write is nobody to write to: uvloop would raise.
        if data and not self.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        """Be the transport in all else."""
        return getattr(self._transport, name)


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, CorkedTransport(transport)))


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def run(app: ASGIApp, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGTERM; requests under way are finished."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=_Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    _Server(config).run([listener])
