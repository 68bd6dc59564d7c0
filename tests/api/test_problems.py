"""Every error is a problem document that names the field and never quotes the input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.api.errors import FIELD_ERRORS_MAX, STATUS_OF, headers_of, problem_of
from service.api.guard import DEFINITION_BYTES_MAX
from service.errors import ServiceError
from service.metrics import Metrics
from tests.fakes import House

AB: dict[str, Any] = {"variants": [{"id": "a"}, {"id": "b"}]}
SECRET = "sEcReT<script>"  # noqa: S105  What must not come back.
JSON = {"Content-Type": "application/json"}

# What a body may not say: the changes, the field that is blamed, and part of the reason.
INVALID: list[tuple[str, dict[str, Any], str, str]] = [
    ("no variants", {"variants": []}, "variants", "at least 1"),
    ("variants as text", {"variants": SECRET}, "variants", "must be a list"),
    ("a variant as text", {"variants": [SECRET]}, "variants.0", "must be an object"),
    ("an id with markup", {"variants": [{"id": SECRET}]}, "variants.0.id", "must match"),
    ("an id too long", {"variants": [{"id": "x" * 65}]}, "variants.0.id", "must match"),
    ("an id as number", {"variants": [{"id": 7}]}, "variants.0.id", "must be a string"),
    ("no id", {"variants": [{}]}, "variants.0.id", "is required"),
    (
        "a boolean as text",
        {"variants": [{"id": "a", "is_control": "true"}]},
        "variants.0.is_control",
        "must be true or false",
    ),
    (
        "a payload as list",
        {"variants": [{"id": "a", "payload": []}]},
        "variants.0.payload",
        "must be an object",
    ),
    ("an unknown field", {"colour": SECRET}, "?", "is not a field"),
    ("an unknown field with markup", {SECRET: 1}, "?", "is not a field"),
    ("a harmless name", {"my_secret_field": 1}, "?", "is not a field"),
    (
        "an unknown field of a variant",
        {"variants": [{"id": "a", "my_secret": 1}]},
        "variants.0.?",
        "is not a field",
    ),
    ("an id with a line end", {"variants": [{"id": "a\n"}]}, "variants.0.id", "must match"),
    (
        "an event with a line end",
        {"reward": {"events": {"c\n": 1.0}}},
        "reward.events.?.?",
        "match",
    ),
    ("a field of the answer", {"revision": 3}, "revision", "is not a field"),
    ("a floor as text", {"exploration_floor": "0.1"}, "exploration_floor", "must be a number"),
    ("a floor below 0", {"exploration_floor": -0.1}, "exploration_floor", "at least 0"),
    ("a floor above 1", {"exploration_floor": 1.5}, "exploration_floor", "at most 1"),
    ("a share above 1", {"holdout": {"share": 2}}, "holdout.share", "at most 1"),
    ("an unknown holdout", {"holdout": {"kind": SECRET}}, "holdout.kind", "'uniform' or 'control'"),
    ("an unknown state", {"state": SECRET}, "state", "'draft'"),
    ("an unknown reward kind", {"reward": {"kind": SECRET}}, "reward.kind", "'binary' or 'value'"),
    ("a window in months", {"reward": {"window": "P1M"}}, "reward.window", "like P7D"),
    ("a window as number", {"reward": {"window": 7}}, "reward.window", "must be a string"),
    ("no event", {"reward": {"events": {}}}, "reward.events", "at least 1"),
    ("a value as text", {"reward": {"events": {"c": "1"}}}, "reward.events.?", "must be a number"),
    ("a half-life as number", {"evidence": {"half_life": 7}}, "evidence.half_life", "a string"),
    ("a policy as text", {"policy": SECRET}, "policy", "must be an object"),
    (
        "a guardrail by halves",
        {"guardrails": [{"event": "u"}]},
        "guardrails.0.rate_max",
        "required",
    ),
]
# What only the domain can tell.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("equal ids", {"variants": [{"id": "a"}, {"id": "a"}]}, "every id must be different"),
    (
        "two controls",
        {"variants": [{"id": i, "is_control": True} for i in "ab"]},
        "only one can be the control",
    ),
    ("an unknown policy", {"policy": {"name": SECRET}}, "unknown policy; there are thompson"),
    ("an unknown parameter", {"policy": {"name": "ucb1", SECRET: 1}}, "no such parameter"),
    ("a half-life too short", {"evidence": {"half_life": "PT1M"}}, "from PT1H"),
    ("a window too long", {"reward": {"window": "P91D"}}, "to P90D"),
    ("an event worth 2", {"reward": {"events": {"c": 2.0}}}, "no other value"),
    ("a share for nobody", {"policy": {"name": "fixed", "shares": {SECRET: 1}}}, "per variant id"),
]
UNSUPPORTED: list[tuple[str, dict[str, Any]]] = [
    ("reward.kind", {"reward": {"kind": "value"}}),
    ("evidence.delay", {"evidence": {"delay": "learned"}}),
    ("guardrails", {"guardrails": [{"event": "unsubscribe", "rate_max": 0.005}]}),
]


class BrokenMetrics(Metrics):
    """Metrics with a defect."""

    def render(self) -> bytes:
        """Raise what nobody expects."""
        raise ZeroDivisionError(SECRET)


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("/problems/")
    assert found["title"]
    assert found["detail"]
    assert SECRET not in answer.text
    return found


@pytest.mark.parametrize(
    ("changes", "field", "reason"), [each[1:] for each in INVALID], ids=[e[0] for e in INVALID]
)
async def test_a_field_out_of_the_schema_is_named_with_a_reason(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str, reason: str
) -> None:
    answer = await client.put("/experiments/spring", json={**AB, **changes})

    found = is_problem(answer, 422)
    assert found["type"] == "/problems/invalid-input"
    assert [each["field"] for each in found["errors"]] == [field]
    assert reason in found["errors"][0]["reason"]


@pytest.mark.parametrize(
    ("changes", "reason"), [each[1:] for each in REFUSED], ids=[e[0] for e in REFUSED]
)
async def test_what_only_the_domain_can_tell_is_a_422_too(
    client: httpx.AsyncClient, changes: dict[str, Any], reason: str
) -> None:
    answer = await client.put("/experiments/spring", json={**AB, **changes})

    assert reason in is_problem(answer, 422)["detail"]


@pytest.mark.parametrize(("name", "changes"), UNSUPPORTED, ids=[e[0] for e in UNSUPPORTED])
async def test_what_is_not_served_yet_says_so(
    client: httpx.AsyncClient, name: str, changes: dict[str, Any]
) -> None:
    found = is_problem(await client.put("/experiments/spring", json={**AB, **changes}), 422)

    assert found["type"] == "/problems/unsupported-feature"
    assert name in found["detail"]
    assert (await client.get("/experiments/spring")).status_code == 404


async def test_the_number_of_field_errors_is_limited(client: httpx.AsyncClient) -> None:
    body = {"variants": [{"id": SECRET} for _ in range(50)]}

    found = is_problem(await client.put("/experiments/spring", json=body), 422)

    assert len(found["errors"]) == FIELD_ERRORS_MAX
    assert len(found["detail"]) <= 300


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"variants": [{"id": "a", "payload": {"x": NaN}}]}',
        b'{"variants": [{"id": "a"}], "exploration_floor": NaN}',
        b'{"variants": [{"id": "a", "payload": {"x": 1e999}}]}',
        b'{"variants": [{"id": "a", "payload": {"x": "\\ud800"}}]}',
        b'{"variants": [{"id": "\\ud800"}]}',
        b'{"variants": [{"id": "a", "payload": {"\\ud800": 1}}]}',
        b'{"\\ud800": 1, "variants": [{"id": "a"}]}',
        b'{"variants": [{"id": "a", "payload": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}]}",
        b"[]",
        b"null",
        b"7",
    ],
)
async def test_a_body_no_encoder_makes_is_a_422(client: httpx.AsyncClient, content: bytes) -> None:
    is_problem(await client.put("/experiments/spring", content=content, headers=JSON), 422)


@pytest.mark.parametrize("content", [b"[" * 60_000, b"\xff\xfe{", b'{"x": ' + b"9" * 5_000 + b"}"])
async def test_a_body_that_breaks_the_parser_is_a_problem(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.put("/experiments/spring", content=content, headers=JSON)

    is_problem(answer, answer.status_code)
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_media_type_is_a_415(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = await client.put("/experiments/spring", content=b"{}", headers=headers)

    is_problem(answer, 415)


async def test_no_body_at_all_is_a_422(client: httpx.AsyncClient) -> None:
    found = is_problem(await client.put("/experiments/spring"), 422)

    assert found["errors"] == [{"field": "body", "reason": "is required"}]


async def test_a_body_said_to_be_too_large_is_a_413(client: httpx.AsyncClient) -> None:
    content = b" " * (DEFINITION_BYTES_MAX + 1)

    is_problem(await client.put("/experiments/spring", content=content, headers=JSON), 413)


async def test_a_body_that_grows_too_large_is_a_413(client: httpx.AsyncClient) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(DEFINITION_BYTES_MAX // 65_536 + 2):
            yield b" " * 65_536

    is_problem(await client.put("/experiments/spring", content=stream(), headers=JSON), 413)


async def test_an_unknown_path_is_a_404(client: httpx.AsyncClient) -> None:
    is_problem(await client.get(f"/{SECRET}"), 404)


@pytest.mark.parametrize("path", ["/experiments/", "/docs", "/redoc", "/experiments/a/fly"])
async def test_no_path_is_guessed_or_redirected(client: httpx.AsyncClient, path: str) -> None:
    is_problem(await client.get(path), 404)


async def test_another_method_is_a_405_that_names_those_served(client: httpx.AsyncClient) -> None:
    lists, one = await client.delete("/experiments"), await client.delete("/experiments/spring")

    is_problem(lists, 405)
    is_problem(one, 405)
    assert (lists.headers["allow"], one.headers["allow"]) == ("GET, HEAD", "GET, HEAD, PUT")


@pytest.mark.parametrize("actor", ["x" * 65, SECRET, " ", ""])
async def test_an_actor_who_is_no_name_is_a_422(client: httpx.AsyncClient, actor: str) -> None:
    answer = await client.put("/experiments/spring", json=AB, headers={"X-Actor": actor})

    assert is_problem(answer, 422)["errors"][0]["field"] == "header.X-Actor"


async def test_an_id_out_of_the_pattern_is_a_422(client: httpx.AsyncClient) -> None:
    found = is_problem(await client.get("/experiments/-x-"), 422)

    assert found["errors"][0]["field"] == "path.experiment_id"


@pytest.mark.parametrize("path", ["/trail", "", "/report", "/variants/a/pause"])
async def test_a_path_with_a_line_end_is_no_route(client: httpx.AsyncClient, path: str) -> None:
    await client.put("/experiments/spring", json=AB)
    method = "POST" if "pause" in path else "GET"

    is_problem(await client.request(method, f"/experiments/spring{path}%0A"), 404)


@pytest.mark.parametrize("path", ["", "/allocation", "/trail", "/report", "/decisions.csv"])
async def test_an_unknown_experiment_is_a_404(client: httpx.AsyncClient, path: str) -> None:
    found = is_problem(await client.get(f"/experiments/nobody{path}"), 404)

    assert found["type"] == "/problems/experiment-not-found"


async def test_an_unknown_variant_is_a_404(client: httpx.AsyncClient) -> None:
    await client.put("/experiments/spring", json=AB)

    found = is_problem(await client.post("/experiments/spring/variants/zzz/pause"), 404)

    assert found["type"] == "/problems/variant-not-found"


async def test_a_defect_is_a_500_that_tells_nothing() -> None:
    transport = httpx.ASGITransport(
        app=House(metrics=BrokenMetrics()).app, raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = is_problem(await client.get("/metrics"), 500)

    assert found["detail"] == "The server failed; see its log"


@pytest.mark.parametrize("error", STATUS_OF, ids=lambda error: error.__name__)
def test_every_domain_error_has_a_type_of_its_own(error: type[ServiceError]) -> None:
    status, document = problem_of(error("for the caller"))
    others = {problem_of(other("for the caller"))[1] for other in STATUS_OF if other is not error}

    assert status == STATUS_OF[error]
    assert b"for the caller" in document
    assert document not in others
    assert ("Retry-After" in headers_of(status)) == (status in {429, 503})
