"""What the hot routes say of requests that are wrong as HTTP, or that meet a defect."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from service.domain.limits import BODY_BYTES_MAX
from service.store.memory_redis import MemoryReplays
from tests.hot_rig import HotRig


class BrokenReplays(MemoryReplays):
    """A replay memory with a defect."""

    async def remember(self, *_: object) -> list[bytes | None]:
        """Raise what nobody expects."""
        raise ZeroDivisionError


BODY = b'{"experiment": "autumn", "unit": "u"}'


@pytest.fixture
def rig() -> HotRig:
    rig = HotRig()
    rig.experiment()
    return rig


@pytest.fixture
async def client(rig: HotRig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client() as client:
        yield client


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"]
)
async def test_json_is_known_by_its_media_type(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post("/choose", content=BODY, headers={"content-type": media_type})

    assert answer.status_code == 200


@pytest.mark.parametrize("media_type", [None, "", "application/jsonx", "text/plain"])
async def test_a_body_that_is_not_said_to_be_json_answers_415(
    client: httpx.AsyncClient, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    answer = await client.post("/choose", content=BODY, headers=headers)

    assert answer.status_code == 415
    assert answer.json()["type"] == "/problems/unsupported-media-type"


async def test_a_large_body_in_one_part_of_unknown_length_answers_413(
    client: httpx.AsyncClient,
) -> None:
    async def one_part() -> AsyncIterator[bytes]:
        yield b" " * (BODY_BYTES_MAX + 1)

    answer = await client.post(
        "/choose", content=one_part(), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413


async def test_a_defect_answers_500_as_on_every_other_route() -> None:
    rig = HotRig(replays=BrokenReplays())
    rig.experiment()
    async with rig.client() as client:
        answer = await client.post(
            "/choose", json={"experiment": "autumn", "unit": "u", "occasion": "o"}
        )

    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-server-error")
    assert answer.json()["detail"] == "The server failed; see its log"


async def test_no_browser_makes_anything_else_of_an_answer(client: httpx.AsyncClient) -> None:
    chosen = await client.post(
        "/choose", content=BODY, headers={"content-type": "application/json"}
    )
    refused = await client.post("/choose", content=BODY, headers={"content-type": "text/html"})
    missing = await client.get("/choose")

    assert chosen.status_code == 200
    for answer in (chosen, refused, missing):
        assert answer.headers["x-content-type-options"] == "nosniff"
    for answer in (refused, missing):
        assert answer.headers["cache-control"] == "no-store"
