"""What all routes behind the hot ones share: strict bodies, safe headers, names, HEAD."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import structlog
from fastapi.routing import APIRoute

from service.api import experiments, exports, operations, privacy, reports, trail
from service.api.security_headers import SECURITY_HEADERS
from service.api.strict_json import StrictRoute
from service.metrics import Metrics
from tests.fakes import House

AB: dict[str, Any] = {"variants": [{"id": "a"}, {"id": "b"}]}
JSON = {"Content-Type": "application/json"}
LARGE = b" " * 70_000

NOT_STRICT = {
    "a field twice": b'{"variants": [{"id": "a"}], "variants": [{"id": "b"}]}',
    "a field of a payload twice": b'{"variants": [{"id": "a", "payload": {"x": 1, "x": 2}}]}',
    "a parameter twice": b'{"variants": [{"id": "a"}], "policy": {"name": "ucb1", "name": "x"}}',
    "an endless integer": b'{"variants": [{"id": "a", "payload": {"x": ' + b"1" * 30 + b"}}]}",
    "a zero": b'{"variants": [{"id": "a", "payload": {"x": "\\u0000"}}]}',
    "depth": b'{"variants": [{"id": "a", "payload": ' + b'{"x":' * 30 + b"1" + b"}" * 30 + b"}]}",
    "no UTF-8": b'{"variants": [{"id": "a", "payload": {"x": "\xff"}}]}',
    "a large one, field twice": LARGE + b'{"state": "draft", "state": "draft"}',
}
# One value for each typed place of a body that JSON spells alike but is of another type.
OF_ANOTHER_TYPE: list[dict[str, Any]] = [
    {"exploration_floor": "0.1"},
    {"exploration_floor": True},
    {"exploration_floor": [0.1]},
    {"holdout": {"share": "0"}},
    {"holdout": {"share": False}},
    {"reward": {"events": {"c": True}}},
    {"reward": {"window": 604_800}},
    {"evidence": {"half_life": 3_600}},
    {"evidence": {"delay": None}},
    {"guardrails": [{"event": "u", "rate_max": "0.1"}]},
    {"variants": [{"id": "a", "is_control": 1}, {"id": "b"}]},
    {"variants": [{"id": "a", "is_control": "true"}, {"id": "b"}]},
    {"variants": {"id": "a"}},
    {"variants": [{"id": 1}, {"id": "b"}]},
    {"state": 1},
    {"policy": {"name": 1}},
    {"policy": {"name": "fixed", "shares": {"a": "0.5", "b": "0.5"}}},
    {"policy": {"name": "fixed", "shares": {"a": True, "b": False}}},
    {"policy": {"name": "ucb1", "scale": True}},
    {"policy": {"name": "ucb1", "scale": "1"}},
    {"policy": {"name": "epsilon_greedy", "epsilon": "0.1"}},
    {"policy": {"name": "epsilon_greedy", "epsilon": True}},
]


class BrokenMetrics(Metrics):
    """Metrics with a defect."""

    def render(self) -> bytes:
        """Raise what nobody expects."""
        raise ZeroDivisionError


@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT)
async def test_a_body_is_read_strictly(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.put("/experiments/spring", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input")
    assert (await client.get("/experiments/spring")).status_code == 404


@pytest.mark.parametrize("changes", OF_ANOTHER_TYPE, ids=str)
async def test_a_type_is_taken_literally(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    answer = await client.put("/experiments/spring", json={**AB, **changes})

    assert answer.status_code == 422


async def test_a_large_strict_body_is_taken(client: httpx.AsyncClient) -> None:
    content = LARGE + b'{"variants": [{"id": "a"}, {"id": "b"}]}'

    answer = await client.put("/experiments/spring", content=content, headers=JSON)

    assert answer.status_code == 201


async def test_a_body_that_breaks_off_is_no_failure_of_ours() -> None:
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:  # noqa: ANN401
        return parts.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    await House().app(
        {
            "type": "http",
            "method": "PUT",
            "path": "/experiments/spring",
            "raw_path": b"/experiments/spring",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")],
        },
        receive,
        send,
    )

    assert sent[0]["status"] == 408


def test_every_route_with_a_body_reads_it_strictly() -> None:
    rooms = (experiments, reports, exports, operations, privacy, trail)
    routes = [route for room in rooms for route in room.router.routes]
    lax = [
        route.path
        for route in routes
        if isinstance(route, APIRoute) and route.body_field and not isinstance(route, StrictRoute)
    ]

    assert lax == []


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/openapi.json", 200), ("/nobody", 404), ("/metrics", 500)]
)
async def test_every_answer_has_the_headers_that_keep_browsers_honest(
    path: str, status: int
) -> None:
    transport = httpx.ASGITransport(
        app=House(metrics=BrokenMetrics()).app, raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get(path)

    assert answer.status_code == status
    assert (
        tuple((name, answer.headers[name.decode()].encode()) for name, _ in SECURITY_HEADERS)
        == SECURITY_HEADERS
    )


@pytest.mark.parametrize("name", ["a", "send-7.2_x", "x" * 64])
async def test_the_name_a_caller_gave_comes_back(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get("/livez", headers={"X-Request-Id": name})

    assert answer.headers.get_list("x-request-id") == [name]


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a b", "a\tb", '"', "{}", "<b>", "\xe9"])
async def test_a_name_that_could_do_harm_is_replaced(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get("/livez", headers={b"X-Request-Id": name.encode("latin-1")})

    assert answer.headers["x-request-id"] != name
    assert len(answer.headers["x-request-id"]) == 24


async def test_unnamed_requests_get_different_names(client: httpx.AsyncClient) -> None:
    names = {(await client.get("/livez")).headers["x-request-id"] for _ in range(10)}

    assert len(names) == 10


async def test_the_name_of_a_request_stands_in_its_log_lines(client: httpx.AsyncClient) -> None:
    await client.get("/livez", headers={"X-Request-Id": "send-7"})

    assert structlog.contextvars.get_contextvars()["request_id"] == "send-7"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/experiments/spring"])
async def test_head_answers_like_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    await client.put("/experiments/spring", json=AB)
    got, head = await client.get(path), await client.head(path)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers.keys() == got.headers.keys()
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_of_a_stream_ends_it(house: House, client: httpx.AsyncClient) -> None:
    await client.put("/experiments/spring", json=AB)
    await house.send({0: 2_000}, {})

    head = await client.head("/experiments/spring/decisions.csv")

    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/experiments/spring", "GET, HEAD, PUT"),
        ("/experiments/spring/pause", "POST"),
    ],
)
async def test_options_is_a_405_that_names_what_is_served(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    answer = await client.options(path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_head_of_what_only_takes_posts_is_a_405(client: httpx.AsyncClient) -> None:
    answer = await client.head("/experiments/spring/pause")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
