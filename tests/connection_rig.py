"""One connection over a real socket to an application that echoes; its seconds are told by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.api.hot_dispatch import HotDispatcher
from service.api.protocol import Protocol
from service.api.room import FILES_MAX, Room
from service.api.turnstile import Door, Turnstile
from service.metrics.connections import ConnectionMetrics

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"


PART_BYTES = 64 * 1024
LARGE = bytes(32 * 1024 * 1024)  # More than any kernel holds for a client that takes nothing.


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  uvicorn sets no event.
            await asyncio.sleep(0)


@dataclass
class Echo:
    """An application that answers the body it was sent; `/wait` answers when it may go on."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    gone: int = 0
    answered: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # Of the last request.

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Answer one request."""
        self.headers = scope["headers"]
        if scope["path"] == "/large":
            await self._answer(send, LARGE)
            self.answered += 1
            return
        if scope["path"] == "/stream":
            await self._stream(send)
            return
        if scope["path"] == "/early":
            await self._answer(send, b"early")
            return
        if scope["path"] == "/wait":
            await self.may_go_on.wait()
        body = b""
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            self.gone += 1
            return
        await self._answer(send, body or b"nothing")

    async def _stream(self, send: Any) -> None:  # noqa: ANN401
        """Send parts; each waits until there is room for it."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for left in range(len(LARGE) // PART_BYTES, 0, -1):
            part = bytes(PART_BYTES)
            await send({"type": "http.response.body", "body": part, "more_body": left > 1})
        self.answered += 1

    async def _answer(self, send: Any, body: bytes) -> None:  # noqa: ANN401
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Rig:
    """A listening server whose seconds are counted by hand."""

    app: Any = field(default_factory=Echo)
    state: ServerState = field(default_factory=ServerState)
    refused: list[int] = field(default_factory=list)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    places: int = FILES_MAX
    turnstile: Turnstile | None = None
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room = Room(self.places, ConnectionMetrics(self.registry))

    def ended(self, reason: str) -> float | None:
        """Return how many connections were ended for a reason."""
        name = "promobandit_ended_connections_total"
        return self.registry.get_sample_value(name, {"reason": reason})

    def protocol(self) -> Protocol:
        """Return the protocol of a new connection."""
        config = Config(self.app, lifespan="off", log_config=None, ws="none")
        return Protocol(
            config,
            self.state,
            {},
            door=Door(self.refused.append, self.turnstile),
            room=self.room,
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that the server has noticed."""
        known = set(self.state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        await until(lambda: not known.issuperset(self.state.connections))
        return reader, writer

    async def answer(self, *pieces: bytes, seconds: int = 0) -> bytes:
        """Send pieces, let seconds pass, and return all until the server closes."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        self.pass_time(seconds)
        async with asyncio.timeout(5):
            return await reader.read()

    def pass_time(self, seconds: int) -> None:
        """Tick the connections as the server does."""
        for _ in range(seconds):
            self.room.tick(cast(set[Protocol], self.state.connections))
            for connection in tuple(self.state.connections):
                assert isinstance(connection, Protocol)
                connection.tick()


@asynccontextmanager
async def listening(
    places: int = FILES_MAX, dispatcher: HotDispatcher | None = None
) -> AsyncIterator[Rig]:
    """Run a rig whose server has so many places for connections; without a dispatcher it echoes."""
    rig = Rig(places=places)
    if dispatcher is not None:
        rig = Rig(dispatcher, places=places, turnstile=dispatcher.turnstile)
    listener = socket.create_server(("127.0.0.1", 0))
    rig.port = listener.getsockname()[1]
    server = await asyncio.get_running_loop().create_server(rig.protocol, sock=listener)
    yield rig
    server.close()
    for writer in rig.writers:
        writer.close()
    for connection in tuple(rig.state.connections):
        connection.transport.close()
    await until(lambda: not rig.state.connections)
