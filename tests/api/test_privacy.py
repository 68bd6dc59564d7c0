"""The routes of erasures: a request is taken, its state is shown, and the unit is never told."""

from __future__ import annotations

import httpx
import pytest

from tests.fakes import House

UNIT = "ada@example.com"


async def test_a_request_is_taken_and_pending(client: httpx.AsyncClient) -> None:
    answer = await client.post("/erasures", json={"unit": UNIT})

    assert answer.status_code == 202
    body = answer.json()
    assert body.keys() == {"id", "status", "requested_at", "done_at", "rows"}
    assert (body["status"], body["done_at"], body["rows"]) == ("pending", None, 0)
    assert UNIT not in answer.text
    assert (await client.get(f"/erasures/{body['id']}")).json() == body


async def test_a_done_request_says_when_and_how_many(
    house: House, client: httpx.AsyncClient
) -> None:
    erasure_id = (await client.post("/erasures", json={"unit": "unit-1"})).json()["id"]
    store = house.services.erasures.store
    await house.ledger.append([house.decision(1)], [])
    await store.erase(await store.pending())
    await store.finish(erasure_id, house.clock.now_ms())

    body = (await client.get(f"/erasures/{erasure_id}")).json()

    assert (body["status"], body["rows"]) == ("done", 1)
    assert body["done_at"] == body["requested_at"]


async def test_the_trail_names_the_request_and_who_made_it(
    house: House, client: httpx.AsyncClient
) -> None:
    headers = {"X-Actor": "ada"}
    erasure_id = (await client.post("/erasures", json={"unit": UNIT}, headers=headers)).json()["id"]

    (act,) = await house.acts.of_tenant(1, 9)

    assert (act.actor, act.subject) == ("ada", erasure_id)
    assert UNIT not in repr(act)


async def test_an_unknown_request_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/erasures/{'f' * 32}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/erasure-not-found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"unit": ""},
        {"unit": "u" * 257},
        {"unit": 7},
        {"unit": "a\0b"},
        {"unit": UNIT, "tenant": 2},
    ],
)
async def test_a_body_that_names_no_unit_is_refused_and_not_echoed(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await client.post("/erasures", json=body)

    assert answer.status_code == 422
    assert UNIT not in answer.text
    assert "uuuu" not in answer.text


async def test_a_unit_that_is_not_unicode_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/erasures", content=rb'{"unit": "\ud800"}', headers=headers)

    assert answer.status_code == 422


async def test_exports_show_wiped_rows_with_an_empty_unit(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json={"variants": [{"id": "a"}, {"id": "b"}]})
    await house.send({0: 1, 1: 1}, {0: 1})
    await client.post("/erasures", json={"unit": "unit-0"})
    store = house.services.erasures.store
    await store.erase(await store.pending())

    lines = (await client.get("/experiments/spring/decisions.ndjson")).text
    table = (await client.get("/experiments/spring/decisions.csv")).text
    report = await client.get("/experiments/spring/report")

    assert '"unit":""' in lines
    assert '"unit":"unit-100000"' in lines
    assert "unit-0" not in lines + table
    assert [row["rewards"] for row in report.json()["variants"]] == [1, 0]
