"""A lean HTTP client of many kept-alive connections, which tells how an exchange ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from tests.faults.proxy import Streams

HEAD_END = b"\r\n\r\n"


class Answer(NamedTuple):
    """What came back; status 0 when nothing whole did."""

    status: int
    body: bytes = b""
    headers: bytes = b""


class UntouchedError(ConnectionError):
    """The connection ended, or never was, before any byte of an answer: safe to send again."""


NO_ANSWER = Answer(0)


class Caller:
    """Keeps connections alive as a marketing system's HTTP client does."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[Streams]] = {}
        self._busy: set[asyncio.StreamWriter] = set()

    async def ask(self, address: tuple[str, int], request: bytes, seconds_max: float) -> Answer:
        """Send a request and read its answer; `NO_ANSWER` when that is late or torn.

        Raises `UntouchedError` when the connection ended before any byte of the answer.
        """
        streams: Streams | None = None
        try:
            async with asyncio.timeout(seconds_max):
                streams = await self._connection(address)
                answer = await self._exchange(streams, request)
        except (TimeoutError, asyncio.IncompleteReadError):
            answer = NO_ANSWER
        finally:
            if streams is not None:
                self._busy.discard(streams[1])
        if streams is not None and (not answer.status or b"onnection: close" in answer.headers):
            streams[1].transport.abort()
        elif streams is not None:
            self._idle.setdefault(address, []).append(streams)
        return answer

    async def hang_up(self, address: tuple[str, int], request: bytes, *, is_half: bool) -> None:
        """Send a request, or half of one, and leave without waiting for an answer."""
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            writer.write(request[: len(request) // 2] if is_half else request)
            await writer.drain()
            writer.close()

    async def close(self) -> None:
        """Close every connection."""
        writers = [w for idle in self._idle.values() for _, w in idle] + list(self._busy)
        for writer in writers:
            writer.close()
        for writer in writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _connection(self, address: tuple[str, int]) -> Streams:
        idle = self._idle.get(address, [])
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                self._busy.add(writer)
                return reader, writer
            writer.close()
        try:
            streams = await asyncio.open_connection(*address)
        except OSError as error:
            raise UntouchedError(str(error)) from error
        self._busy.add(streams[1])
        return streams

    async def _exchange(self, streams: Streams, request: bytes) -> Answer:
        reader, writer = streams
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(HEAD_END)
        except asyncio.IncompleteReadError as error:
            writer.transport.abort()
            if not error.partial:
                raise UntouchedError("closed before any byte") from error
            raise
        except OSError as error:
            writer.transport.abort()
            raise UntouchedError(str(error)) from error
        return await _body(reader, head)


async def _body(reader: asyncio.StreamReader, head: bytes) -> Answer:
    lines = head.split(b"\r\n")
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    try:
        body = await reader.readexactly(length) if length else b""
    except OSError:
        return NO_ANSWER
    return Answer(int(lines[0].split(b" ")[1]), body, head)
