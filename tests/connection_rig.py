"""One connection over a real socket to an application that echoes; its seconds are told by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from service.api.protocol import Protocol

GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  uvicorn sets no event.
            await asyncio.sleep(0)


@dataclass
class Echo:
    """An application that answers the body it was sent; `/wait` answers when it may go on."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    gone: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Answer one request."""
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

    async def _answer(self, send: Any, body: bytes) -> None:  # noqa: ANN401
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Rig:
    """A listening server whose seconds are counted by hand."""

    app: Echo = field(default_factory=Echo)
    state: ServerState = field(default_factory=ServerState)
    refused: list[int] = field(default_factory=list)
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def protocol(self) -> Protocol:
        """Return the protocol of a new connection."""
        config = Config(self.app, lifespan="off", log_config=None, ws="none")
        return Protocol(config, self.state, {}, refused=self.refused.append)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that the server has noticed."""
        known = len(self.state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        await until(lambda: len(self.state.connections) > known)
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
            for connection in tuple(self.state.connections):
                assert isinstance(connection, Protocol)
                connection.tick()


@asynccontextmanager
async def listening() -> AsyncIterator[Rig]:
    rig = Rig()
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
