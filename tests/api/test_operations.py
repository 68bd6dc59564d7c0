"""Health, metrics, the lifespan, and the address list."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import Message

from tests.fakes import House

AB = {"variants": [{"id": "a"}, {"id": "b"}]}


async def lifespan(house: House) -> list[str]:
    """Run the application's whole life and return what it answered."""
    inbox: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    answers: list[str] = []

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        answers.append(message["type"])

    await house.app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return answers


async def test_the_lifespan_starts_and_stops_the_services(house: House) -> None:
    answers = await lifespan(house)

    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert house.started == ["start", "stop"]


async def test_a_process_lives_before_it_is_ready(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/livez"), await client.get("/readyz")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert ready.status_code == 503
    assert ready.headers["content-type"] == "application/problem+json"
    assert ready.headers["retry-after"] == "1"
    assert ready.json() == {
        "type": "/problems/not-ready",
        "title": "Not ready",
        "status": 503,
        "detail": "the allocations are not loaded yet",
    }


async def test_a_process_is_ready_once_it_holds_the_allocations(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.tables.load()

    ready = await client.get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_a_process_that_can_record_nowhere_is_not_ready(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.tables.load()
    house.outbox.is_full = house.ledger.is_down = True

    ready = await client.get("/readyz")

    assert ready.status_code == 503
    assert "neither the outbox nor the ledger" in ready.json()["detail"]


async def test_a_process_that_is_about_to_end_says_so_and_still_serves(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.tables.load()
    house.services.departure.has_begun = True

    ready, live = await client.get("/readyz"), await client.get("/livez")

    assert (ready.status_code, live.status_code) == (503, 200)
    assert ready.json()["detail"] == "the process is about to end"


async def test_metrics_count_requests_by_template_and_never_by_path(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/experiments/spring", json=AB)
    await client.get("/experiments/spring")
    await client.get("/experiments/winter")
    await client.get("/somewhere/else")

    metrics = await client.get("/metrics")

    assert metrics.headers["content-type"].startswith("text/plain")
    for line in (
        'requests_total{route="/experiments/{experiment_id}",status="200"} 1.0',
        'requests_total{route="/experiments/{experiment_id}",status="201"} 1.0',
        'requests_total{route="/experiments/{experiment_id}",status="404"} 1.0',
        'requests_total{route="unmatched",status="404"} 1.0',
    ):
        assert line in metrics.text
    assert "winter" not in metrics.text
    assert "somewhere" not in metrics.text


async def test_the_root_names_addresses_that_exist(client: httpx.AsyncClient) -> None:
    links = (await client.get("/")).json()["links"]

    statuses = {path: (await client.get(path)).status_code for path in links.values()}
    # /choose and /reward want parameters or another method; all others answer at once.
    assert statuses.pop("/choose") == 422
    assert statuses.pop("/reward") == 405
    assert statuses.pop("/readyz") == 503
    assert set(statuses.values()) == {200}


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/"])
async def test_operations_answer_while_sql_is_down(
    house: House, client: httpx.AsyncClient, path: str
) -> None:
    house.ledger.is_down = True

    assert (await client.get(path)).status_code == 200
