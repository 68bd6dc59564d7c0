"""The transport that joins the head and the body of an answer."""

import asyncio
from typing import cast

from service.api.transport import CorkedTransport


class Wire:
    """An honest little transport: it refuses writes once it is closed, as uvloop's does."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        if self.is_closed:
            raise RuntimeError("closed")
        self.written.append(data)

    def close(self) -> None:
        """Refuse writes from now on."""
        self.is_closed = True

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.is_closed


def corked(wire: Wire) -> CorkedTransport:
    return CorkedTransport(cast(asyncio.Transport, wire))


async def test_what_one_turn_writes_leaves_in_one_write() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"head")
    transport.write(b"body")
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)

    assert wire.written == [b"headbody", b"next"]


async def test_closing_writes_what_is_there_first() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)

    assert (wire.written, wire.is_closed) == ([b"last"], True)


async def test_an_answer_to_a_client_that_hung_up_is_dropped() -> None:
    wire = Wire()
    corked(wire).write(b"late")
    wire.is_closed = True
    await asyncio.sleep(0)

    assert wire.written == []


async def test_nothing_is_to_be_taken_of_what_was_sent() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"all")
    await asyncio.sleep(0)

    assert transport.taken_bytes() is None
