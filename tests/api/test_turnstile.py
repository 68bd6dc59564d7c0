"""A call that finds no room is refused at its head, in the words of the dispatcher."""

from __future__ import annotations

import asyncio
import json

import pytest

from service.api.admission import Priority
from tests.connection_rig import Rig, listening
from tests.hot_rig import HotRig

FULL = 10_000  # More than any limit.
BODY = json.dumps({"experiment": "autumn", "unit": "u", "occasion": "o"}).encode()
Answer = tuple[int, dict[str, str], bytes]


def a_choice(*fields: bytes, version: bytes = b"1.1", body: bytes = BODY) -> bytes:
    lines = [
        b"POST /choose HTTP/" + version,
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *fields,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture
def hot() -> HotRig:
    rig = HotRig()
    rig.experiment()
    return rig


def fill(hot: HotRig, places: int = FULL) -> None:
    hot.admission.limit(Priority.CHOOSE).in_flight = places


async def read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


async def asked(rig: Rig, *requests: bytes) -> list[Answer]:
    """Ask one after the other on one connection."""
    reader, writer = await rig.connect()
    answers = []
    async with asyncio.timeout(5):
        for request in requests:
            writer.write(request)
            answers.append(await read(reader))
    return answers


def counted(hot: HotRig) -> tuple[float | None, float | None]:
    hot.metrics.flush()
    value = hot.metrics.registry.get_sample_value
    labels = {"route": "/choose", "status": "503"}
    return (
        value("promobandit_requests_total", labels),
        value("promobandit_shed_requests_total", {"priority": "choose"}),
    )


async def test_a_refusal_at_the_head_is_the_dispatchers_but_for_when_to_come_back(
    hot: HotRig,
) -> None:
    fill(hot)
    async with listening(dispatcher=hot.app) as rig:
        # A name of one's own for the request is unusual: that one goes on to the dispatcher.
        at_head, later = await asked(rig, a_choice(), a_choice(b"X-Request-Id: r1"))

    assert at_head[0] == later[0] == 503
    assert at_head[2] == later[2]
    assert at_head[1].keys() - {"date"} == later[1].keys() - {"x-request-id", "date"}
    assert {at_head[1]["retry-after"], later[1]["retry-after"]} <= {"1", "2", "3"}
    assert counted(hot) == (2, 2)


async def test_the_connection_goes_on_with_whatever_comes_next(hot: HotRig) -> None:
    fill(hot)
    async with listening(dispatcher=hot.app) as rig:
        reader, writer = await rig.connect()
        async with asyncio.timeout(5):
            writer.write(a_choice())
            refused = await read(reader)
            fill(hot, 0)
            writer.write(a_choice())
            answered = await read(reader)

    assert (refused[0], answered[0]) == (503, 200)
    assert json.loads(answered[2])["experiment"] == "autumn"


async def test_the_body_is_read_over_however_it_comes(hot: HotRig) -> None:
    fill(hot)
    large = BODY + b" " * 40_000
    whole = a_choice(body=large)
    async with listening(dispatcher=hot.app) as rig:
        reader, writer = await rig.connect()
        async with asyncio.timeout(5):
            for start in range(0, len(whole), 9_000):
                writer.write(whole[start : start + 9_000])
                await writer.drain()
                await asyncio.sleep(0.005)
            first = await read(reader)
            writer.write(a_choice())
            second = await read(reader)

    assert (first[0], second[0]) == (503, 503)


async def test_calls_sent_together_are_answered_in_order(hot: HotRig) -> None:
    fill(hot)
    get = b"GET /choose?experiment=none&unit=u HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with listening(dispatcher=hot.app) as rig:
        reader, writer = await rig.connect()
        async with asyncio.timeout(5):
            writer.write(a_choice() + get + a_choice())
            statuses = [(await read(reader))[0] for _ in range(3)]

    assert statuses == [503, 503, 503]
    assert counted(hot) == (3, 3)


async def test_who_may_not_ask_is_told_so_and_not_that_it_is_full(hot: HotRig) -> None:
    fill(hot)
    async with listening(dispatcher=hot.app) as rig:
        ((status, *_),) = await asked(rig, a_choice(b"Authorization: Bearer nonsense"))

    assert status == 401


@pytest.mark.parametrize("unusual", [{"version": b"1.0"}, {"fields": b"Connection: close"}])
async def test_a_connection_that_is_to_end_ends(hot: HotRig, unusual: dict[str, bytes]) -> None:
    fill(hot)
    fields = [unusual["fields"]] if "fields" in unusual else []
    request = a_choice(*fields, version=unusual.get("version", b"1.1"))
    async with listening(dispatcher=hot.app) as rig:
        answer = await rig.answer(request)

    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_who_hangs_up_inside_a_refused_body_leaves_nothing_behind(hot: HotRig) -> None:
    fill(hot)
    async with listening(dispatcher=hot.app) as rig:
        answer = await rig.answer(a_choice(body=BODY + b" " * 99)[:-50], seconds=12)

    assert answer.startswith(b"HTTP/1.1 503 ")
