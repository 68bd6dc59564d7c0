"""One connection over a real socket: what is not HTTP, too large or too slow is a problem."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from service.api.protocol import (
    KEEP_ALIVE_SECONDS,
    LINGER_BYTES_MAX,
    LINGER_SECONDS,
)
from service.domain.limits import HEADERS_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX
from service.domain.limits import RECEIVE_SECONDS_MAX as SECONDS_MAX
from tests.connection_rig import GET, POST, Rig, listening, until

SECRET = b"sEcReT"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with listening() as rig:
        yield rig


def is_problem(answer: bytes, status: int) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    found = msgspec.json.decode(body)
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    assert found["status"] == status
    assert SECRET not in answer
    return head


NOT_HTTP = {
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown method": b"SECRET / HTTP/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + SECRET + b"\r\n\r\n",
    "a header with a space": b"GET / HTTP/1.1\r\nsEcReT x: 1\r\n\r\n",
    "a header with a zero": b"GET / HTTP/1.1\r\na: sEcReT\x00\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "a length that is no number": b"POST / HTTP/1.1\r\nContent-Length: sEcReT\r\n\r\n",
    "a URL that is none": b"GET sEcReT HTTP/1.1\r\n\r\n",
    "a URL with bytes": b"GET /\xff\xfesEcReT HTTP/1.1\r\n\r\n",
    "a tunnel": b"CONNECT sEcReT:443 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_a_400(rig: Rig, sent: bytes) -> None:
    is_problem(await rig.answer(sent), 400)

    assert rig.refused == [400]


async def test_chunks_that_are_none_are_a_400(rig: Rig) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    is_problem(await rig.answer(head, b"sEcReT\r\n"), 400)

    assert rig.app.gone == 1


@pytest.mark.parametrize("length", [URL_BYTES_MAX + 1, 100_000, 3_000_000])
async def test_a_long_url_is_a_414(rig: Rig, length: int) -> None:
    is_problem(await rig.answer(GET % (b"x" * (length - 1))), 414)


async def test_the_longest_url_is_answered(rig: Rig) -> None:
    sent = b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (
        b"x" * (URL_BYTES_MAX - 1)
    )

    assert b"200 OK" in await rig.answer(sent)


HEADERS_TOO_LARGE = {
    "one long value": b"a: " + b"x" * HEADERS_BYTES_MAX + b"\r\n",
    "one endless value": b"a: " + b"x" * 2_000_000 + b"\r\n",
    "one long name": b"x" * HEADERS_BYTES_MAX + b": a\r\n",
    "many long ones": (b"a: " + b"x" * 1_000 + b"\r\n") * 20,
    "many short ones": b"a: 1\r\n" * HEADERS_MAX,
}


@pytest.mark.parametrize("headers", HEADERS_TOO_LARGE.values(), ids=HEADERS_TOO_LARGE)
async def test_headers_beyond_the_limits_are_a_431(rig: Rig, headers: bytes) -> None:
    is_problem(await rig.answer(b"GET / HTTP/1.1\r\nHost: test\r\n" + headers + b"\r\n"), 431)


async def test_headers_that_come_in_drops_are_measured_together(rig: Rig) -> None:
    drops = [b"a: " + b"x" * 8_000 + b"\r\n"] * 4

    is_problem(await rig.answer(b"GET / HTTP/1.1\r\n", *drops), 431)


async def test_headers_within_the_limits_are_answered(rig: Rig) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    headers = [b"a: %s\r\n" % (b"x" * 150)] * (HEADERS_MAX - 2)

    assert b"200 OK" in await rig.answer(head, *headers[:50], *headers[50:], b"\r\n")


async def test_a_head_that_does_not_end_in_time_is_a_408(rig: Rig) -> None:
    head = b"GET / HTTP/1.1\r\nA: "

    is_problem(await rig.answer(head, b"x", b"x", seconds=SECONDS_MAX + 1), 408)

    assert rig.refused == [408]


async def test_a_body_that_does_not_end_in_time_is_a_408(rig: Rig) -> None:
    is_problem(await rig.answer(POST % b"", b"abc", seconds=SECONDS_MAX + 1), 408)

    await asyncio.sleep(0)
    assert rig.app.gone == 1


async def test_a_slow_client_within_its_time_is_answered(rig: Rig) -> None:
    reader, writer = await rig.connect()
    for piece in (POST[:5], POST[5:] % b"", b"abc", b"d"):
        writer.write(piece)
        await asyncio.sleep(0.01)
        rig.pass_time(SECONDS_MAX // 2)

    assert (await reader.readuntil(b"abcd")).startswith(b"HTTP/1.1 200 ")


async def test_an_application_that_takes_its_time_is_no_slow_client(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"wait")
    await asyncio.sleep(0.01)
    rig.pass_time(KEEP_ALIVE_SECONDS * 2)
    rig.app.may_go_on.set()

    assert (await reader.readuntil(b"nothing")).startswith(b"HTTP/1.1 200 ")


async def test_requests_sent_at_once_are_answered_before_the_wrong_one_ends_it(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"wait" + b"no HTTP\r\n\r\n")
    await asyncio.sleep(0.01)
    rig.pass_time(LINGER_SECONDS + 1)
    rig.app.may_go_on.set()
    async with asyncio.timeout(5):
        answer = await reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer


async def test_a_body_after_an_early_answer_is_read_until_its_time_is_over(rig: Rig) -> None:
    answer = await rig.answer(POST % b"early", b"abc", seconds=SECONDS_MAX + 1)

    assert answer.endswith(b"early")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_connection_on_which_nothing_was_asked_is_closed(rig: Rig) -> None:
    assert await rig.answer(b"\r\n", seconds=KEEP_ALIVE_SECONDS + 1) == b""


async def test_a_client_that_goes_on_after_its_refusal_is_cut_off(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"no HTTP\r\n\r\n")
    is_problem(await reader.read(), 400)
    writer.write(b"more\r\n")
    await writer.drain()
    rig.pass_time(LINGER_SECONDS + 1)
    await until(lambda: not rig.state.connections)

    assert rig.refused == [400]


async def test_a_client_that_goes_on_much_after_its_refusal_is_cut_off_at_once(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"no HTTP\r\n\r\n")
    is_problem(await reader.read(), 400)
    writer.write(bytes(LINGER_BYTES_MAX * 2))
    await until(lambda: not rig.state.connections)

    assert rig.refused == [400]


async def test_the_body_is_asked_for_when_it_is_expected(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    asked = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"abcd")

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await reader.readuntil(b"abcd")).startswith(b"HTTP/1.1 200 ")


async def test_a_refused_connection_does_not_hold_up_the_end(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(POST % b"")
    await asyncio.sleep(0.01)
    rig.pass_time(SECONDS_MAX + 1)
    is_problem(await reader.read(), 408)
    for connection in tuple(rig.state.connections):
        connection.shutdown()
    await until(lambda: not rig.state.connections)
