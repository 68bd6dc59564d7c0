"""`GET /sla` tells objectives, levels and verdicts, from what this application answered."""

from __future__ import annotations

import asyncio

import httpx
from starlette.types import Message

from tests.fakes import House

AB = {"variants": [{"id": "a"}, {"id": "b"}]}
REPORT = "/experiments/spring/report"


async def test_answers_of_all_kinds_are_seen_in_the_levels(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json=AB)
    for unit in range(3):
        await client.post("/choose", json={"experiment": "spring", "unit": f"u{unit}"})
    await client.get("/choose", params={"experiment": "winter", "unit": "u"})
    await client.get(f"{REPORT}.csv")
    house.ledger.is_down = True
    for _ in range(10):
        await client.get(REPORT)

    answer = (await client.get("/sla")).json()

    hours = {each["route"]: each["windows"]["1h"] for each in answer["routes"]}
    assert [answer["covers"], answer["verdict"], answer["windows"]] == [
        "service", "broken", {"1h": "broken", "30d": "broken"}
    ]  # fmt: skip
    found = {route: (hour["requests"], hour["bad"]) for route, hour in hours.items()}
    assert found == {
        "POST /choose": (3, 0),
        "GET /choose": (1, 0),  # 404 is the caller's doing.
        "POST /choose/batch": (0, 0),
        "POST /reward": (0, 0),
        "POST /reward/batch": (0, 0),
        "reports": (11, 10),
    }
    assert hours["reports"]["broken"] == ["good_share"]
    assert hours["POST /reward"]["p99_ms"] is None


async def test_answers_have_exactly_the_fields_of_their_schema(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    answer = (await client.get("/sla")).json()

    (first, *_) = answer["routes"]
    assert answer.keys() == schemas["ServiceLevels"]["properties"].keys()
    assert first.keys() == schemas["RouteLevel"]["properties"].keys()
    assert first["windows"]["30d"].keys() == schemas["WindowLevel"]["properties"].keys()


async def test_the_time_in_which_a_caller_sends_a_body_is_not_the_services(house: House) -> None:
    seconds = 0.3
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/reward", "query_string": b""}
    client = ("127.0.0.1", 1)
    await house.app({**scope, "headers": headers, "client": client}, receive, send)

    taken = house.metrics.service_levels.take()
    assert sent[0]["status"] == 422
    assert [bucket.upto_us < seconds * 1_000_000 for bucket in taken] == [True]
