"""What a message says of itself: hosts, lengths, trailers and wishes for other protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.domain.limits import CONTENT_LENGTH_DIGITS_MAX, HEADERS_BYTES_MAX, TRAILERS_MAX
from tests.connection_rig import GET, POST, Rig, listening

CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"4\r\nbody\r\n0\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UPGRADES = {
    "curl": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "a browser": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "two wishes": b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0\r\n",
}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with listening() as rig:
        yield rig


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nX: 1\r\nhost: a\r\n"]
)
async def test_a_request_names_one_host(rig: Rig, hosts: bytes) -> None:
    answer = await rig.answer(b"GET / HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert rig.refused == [400]


async def test_an_old_client_need_not_name_a_host(rig: Rig) -> None:
    assert (await rig.answer(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("zeros", [CONTENT_LENGTH_DIGITS_MAX, 5_000])
async def test_a_length_of_many_digits_is_a_400(rig: Rig, zeros: int) -> None:
    length = b"Content-Length: %s1\r\n\r\n" % (b"0" * zeros)

    answer = await rig.answer(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + length, b"x")

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_trailers_are_not_taken_for_headers(rig: Rig) -> None:
    trailers = b"Authorization: Bearer x\r\nHost: elsewhere\r\n\r\n"
    reader, writer = await rig.connect()
    writer.write(CHUNKED + BODY + trailers)
    answer = await reader.readuntil(b"body")
    headers = list(rig.app.headers)
    writer.write(LAST)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert headers == [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/wait", b"/early", b"/"])
@pytest.mark.parametrize("is_split", [True, False])
async def test_too_many_trailers_end_the_connection(rig: Rig, path: bytes, is_split: bool) -> None:
    trailers = [b"a: 1\r\n"] * (TRAILERS_MAX + 1) + [b"\r\n"]
    pieces = trailers if is_split else [b"".join(trailers)]

    answer = await rig.answer(CHUNKED.replace(b"/ ", path + b" ") + BODY, *pieces, LAST)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 " if path == b"/early" else b"HTTP/1.1 431 ")


ENDLESS = {
    "a trailer": (BODY + b"a: ", b"x" * 60_000),
    "a trailer's name": (BODY + b"a", b"x" * 60_000),
    "a chunk's extension": (b"4;", b"x" * 60_000),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_what_does_not_end_after_a_head_is_a_431(rig: Rig, start: bytes, more: bytes) -> None:
    answer = await rig.answer(CHUNKED + start, more, more)

    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_body_in_many_small_pieces_is_read(rig: Rig) -> None:
    pieces = [b"400\r\n" + b"x" * 1_024 + b"\r\n"] * (HEADERS_BYTES_MAX // 1_024 + 4)

    answer = await rig.answer(CHUNKED, *pieces, b"0\r\n\r\n", LAST)

    assert answer.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("wish", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("is_split", [True, False])
async def test_an_upgrade_is_answered_as_if_it_were_not_wished(
    rig: Rig, wish: bytes, is_split: bool
) -> None:
    posted = POST.replace(b"\r\n\r\n", b"\r\n" + wish + b"\r\n") % b""
    pieces = [posted, b"bo", b"dy", LAST] if is_split else [posted + b"body" + LAST]

    answer = await rig.answer(*pieces)

    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert b"body" in answer
    assert answer.endswith(b"nothing")


async def test_many_wishes_on_one_connection_are_all_answered(rig: Rig) -> None:
    wished = [GET.replace(b"\r\n\r\n", b"\r\n" + w + b"\r\n") % b"" for w in UPGRADES.values()]

    answer = await rig.answer(b"".join(wished) + CHUNKED + BODY + b"\r\n" + LAST)

    assert answer.count(b"HTTP/1.1 200 ") == len(wished) + 2


async def test_what_follows_a_wish_must_be_http(rig: Rig) -> None:
    wished = GET.replace(b"\r\n\r\n", b"\r\n" + UPGRADES["a browser"] + b"\r\n") % b""

    answer = await rig.answer(wished + b"no HTTP\r\n\r\n")

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
