"""A connection at the end of its process: what was asked is answered, then it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.api.protocol import IDLE_SECONDS_AT_END
from tests.connection_rig import GET, POST, Rig, listening


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with listening() as rig:
        yield rig


def end(rig: Rig) -> None:
    for connection in tuple(rig.state.connections):
        connection.shutdown()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read()


async def test_at_the_end_an_idle_client_gets_one_more_answer_that_says_so(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"")
    await reader.readuntil(b"nothing")
    end(rig)
    await asyncio.sleep(0.05)
    writer.write(GET % b"")
    answer = await answer_of(reader)

    assert answer.endswith(b"nothing")
    assert b"connection: close" in answer


async def test_at_the_end_a_client_that_stays_idle_is_closed(rig: Rig) -> None:
    reader, _ = await rig.connect()
    end(rig)

    assert await answer_of(reader) == b""


@pytest.mark.parametrize("split", [1, 20, len(POST % b"") + 2])
async def test_at_the_end_a_request_half_received_is_waited_for(rig: Rig, split: int) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"")
    await reader.readuntil(b"nothing")
    request = POST % b"" + b"body"
    writer.write(request[:split])
    await asyncio.sleep(0.05)
    end(rig)
    await asyncio.sleep(IDLE_SECONDS_AT_END + 0.1)
    writer.write(request[split:])
    answer = await answer_of(reader)

    assert answer.endswith(b"body")
    assert b"connection: close" in answer


async def test_at_the_end_all_requests_that_were_read_are_answered(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"wait" + GET % b"" + POST % b"" + b"last")
    await asyncio.sleep(0.05)
    end(rig)
    rig.app.may_go_on.set()
    answer = await answer_of(reader)

    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.endswith(b"last")
    assert answer.count(b"connection: close") == 1
