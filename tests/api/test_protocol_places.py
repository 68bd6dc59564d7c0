"""Connections have places, strangers little patience, and who takes nothing is cut off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from service.api.protocol import KEEP_ALIVE_SECONDS
from service.api.room import FILES_RESERVED, LINGERING_MAX
from service.domain.limits import RECEIVE_SECONDS_MAX, STALL_SECONDS_MAX
from tests.connection_rig import GET, LARGE, Rig, listening, until

PLACES = 3


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with listening(PLACES) as rig:
        yield rig


async def asked(rig: Rig, path: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await rig.connect()
    writer.write(GET % path)
    if path != b"wait":
        await reader.readuntil(b"nothing")
    return reader, writer


async def test_a_stranger_is_closed_sooner_than_who_asked(rig: Rig) -> None:
    stranger, _ = await rig.connect()
    guest, _ = await asked(rig)
    rig.pass_time(RECEIVE_SECONDS_MAX + 1)
    async with asyncio.timeout(5):
        nothing = await stranger.read()

    assert nothing == b""
    assert not guest.at_eof()
    assert RECEIVE_SECONDS_MAX + 1 < KEEP_ALIVE_SECONDS


async def test_a_newcomer_takes_the_place_of_who_was_idle_longest(rig: Rig) -> None:
    oldest, _ = await asked(rig)
    rig.pass_time(1)
    younger, _ = await asked(rig)
    await asked(rig)
    rig.pass_time(1)
    newcomer, _ = await asked(rig)
    async with asyncio.timeout(5):
        nothing = await oldest.read()

    assert nothing == b""
    assert not younger.at_eof()
    assert not newcomer.at_eof()
    assert (rig.ended("gave_way"), rig.ended("refused")) == (1, 0)


async def test_who_never_asked_gives_way_first(rig: Rig) -> None:
    oldest, _ = await asked(rig)
    await asked(rig)
    rig.pass_time(5)
    stranger, writer = await rig.connect()
    writer.write(b"GET / HT")
    await asyncio.sleep(0.01)
    rig.pass_time(1)
    await asked(rig)
    async with asyncio.timeout(5):
        nothing = await stranger.read()

    assert nothing == b""
    assert not oldest.at_eof()


async def test_without_an_idle_one_the_newcomer_is_a_503(rig: Rig) -> None:
    busy = [await asked(rig, b"wait") for _ in range(PLACES)]
    rig.pass_time(2)
    answer = await rig.answer(b"")
    rig.app.may_go_on.set()
    answers = [await reader.readuntil(b"nothing") for reader, _ in busy]

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"content-type: application/problem+json" in answer
    assert b"retry-after: 1\r\n" in answer
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)
    assert (rig.refused, rig.ended("refused")) == ([503], 1)


async def test_a_flood_of_newcomers_is_not_let_linger(rig: Rig) -> None:
    for _ in range(PLACES):
        await asked(rig, b"wait")
    flood = [
        await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(LINGERING_MAX + 20)
    ]
    rig.writers += [writer for _, writer in flood]
    await until(lambda: len(rig.refused) == len(flood))
    await asyncio.sleep(0.05)

    assert len(rig.state.connections) <= PLACES + LINGERING_MAX


async def test_the_number_of_connections_is_shown(rig: Rig) -> None:
    await asked(rig)
    await asked(rig)
    rig.pass_time(1)

    assert rig.registry.get_sample_value("promobandit_connections") == 2


async def test_a_client_that_takes_nothing_is_cut_off(rig: Rig) -> None:
    _, writer = await rig.connect()
    writer.write(GET % b"large")
    await until(lambda: rig.app.answered == 1)
    await asyncio.sleep(0.05)
    rig.pass_time(STALL_SECONDS_MAX)
    before = len(rig.state.connections)
    rig.pass_time(2)
    await until(lambda: not rig.state.connections)

    assert before == 1
    assert rig.ended("stalled") == 1


async def test_a_stream_that_nobody_takes_ends(rig: Rig) -> None:
    _, writer = await rig.connect()
    writer.write(GET % b"stream")
    await asyncio.sleep(0.2)
    rig.pass_time(STALL_SECONDS_MAX)
    before = rig.app.answered
    rig.pass_time(2)
    await until(lambda: rig.app.answered == 1)

    assert before == 0
    assert rig.ended("stalled") == 1


async def test_a_client_that_takes_a_little_now_and_then_gets_it_all(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET % b"large")
    await until(lambda: rig.app.answered == 1)
    size = 0
    for _ in range(8):
        rig.pass_time(STALL_SECONDS_MAX - 1)
        size += len(await reader.readexactly(512 * 1024))
        await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        await reader.readexactly(len(LARGE) - size)

    assert rig.ended("stalled") == 0


@pytest.mark.parametrize(
    ("soft", "hard", "files", "places"),
    [(100, 1_000, 1_000, 1_000 - FILES_RESERVED), (100, 200, 200, 100)],
)
def test_a_process_opens_as_many_files_as_it_may(
    soft: int, hard: int, files: int, places: int
) -> None:
    program = (
        "import resource; from service.api.room import raise_file_limit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout

    assert said == f"{places} ({files}, {hard})\n"
