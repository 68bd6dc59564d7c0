"""The OpenAPI document: every route with its statuses, schemas and examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes import House

# What any request may get, and any that needs a key.
ALWAYS = {"400", "405", "408", "414", "431", "500"}
WITH_KEYS = {"401", "403", "429", "503"}
READ = "200 404 422"
WRITE = "200 404 409 413 415 422"
ONE = "/experiments/{experiment_id}"
VARIANT = ONE + "/variants/{variant_id}"
ROUTES = {
    "GET /": "200",
    "GET /experiments": "200 422",
    f"GET {ONE}": READ,
    f"PUT {ONE}": "200 201 404 409 413 415 422",
    f"GET {ONE}/allocation": READ,
    f"GET {ONE}/trail": READ,
    f"POST {ONE}/pause": WRITE,
    f"POST {ONE}/resume": WRITE,
    f"POST {ONE}/stop": WRITE,
    f"POST {VARIANT}/pause": WRITE,
    f"POST {VARIANT}/resume": WRITE,
    f"POST {VARIANT}/retire": WRITE,
    f"GET {ONE}/health": READ,
    f"GET {ONE}/report": READ,
    f"GET {ONE}/report.csv": READ,
    f"GET {ONE}/decisions.ndjson": READ,
    f"GET {ONE}/decisions.csv": READ,
    "GET /trail": "200 422",
    "POST /erasures": "202 413 415 422",
    "GET /erasures/{erasure_id}": "200 404 422",
    "GET /webhooks": "200 422",
    "PUT /webhooks/{webhook_id}": "200 409 413 415 422",
    "GET /webhooks/{webhook_id}": "200 404 422",
    "DELETE /webhooks/{webhook_id}": "204 404 422",
    "POST /webhooks/{webhook_id}/test": "202 404 409 422",
    "GET /livez": "200",
    "GET /readyz": "200 503",
    "GET /metrics": "200",
    "GET /sla": "200",
}
HOT = {"GET /choose", "POST /choose", "POST /choose/batch", "POST /reward", "POST /reward/batch"}


@pytest.fixture
async def document() -> dict[str, Any]:
    """Give the document as callers get it."""
    async with House().client() as client:
        answer = await client.get("/openapi.json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(node: Any) -> Iterator[str]:  # noqa: ANN401  Any JSON.
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def own_statuses(operation: dict[str, Any]) -> set[str]:
    general = ALWAYS | WITH_KEYS if "security" in operation else ALWAYS
    statuses: set[str] = set(operation["responses"])
    return statuses - general


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for name in node.get("$ref", "#").split("/")[1:]:
        document = document[name]
    return document if "$ref" in node else node


def has_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return "example" in content or "examples" in document["components"]["schemas"].get(name, {})


def test_the_routes_and_their_statuses_are_these(document: dict[str, Any]) -> None:
    found = {
        name: " ".join(sorted(own_statuses(operation)))
        for name, operation in operations(document)
        if name not in HOT
    }

    assert found == ROUTES


def test_what_any_request_may_get_stands_under_every_operation(document: dict[str, Any]) -> None:
    without = {
        name: ALWAYS - operation["responses"].keys() for name, operation in operations(document)
    }

    assert {name: statuses for name, statuses in without.items() if statuses} == {}


def test_the_hot_routes_are_described_too(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} >= HOT


def test_the_document_is_of_version_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        assert resolved(document, {"$ref": reference}) is not document

    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    contents = {
        f"{name} {status}": resolved(document, answer)["content"]
        for name, operation in operations(document)
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    }

    assert {
        name for name, each in contents.items() if set(each) != {"application/problem+json"}
    } == (set())


def test_every_body_and_answer_has_an_example(document: dict[str, Any]) -> None:
    without = [
        f"{name} {kind}"
        for name, operation in operations(document)
        for kind, part in [*operation["responses"].items(), ("body", operation.get("requestBody"))]
        if part is not None
        for content in resolved(document, part).get("content", {}).values()
        if not has_example(document, content) and int(kind if kind != "body" else 0) < 400
    ]

    # The hot routes' text answer is a bare id.
    assert [each for each in without if not each.startswith("GET /choose")] == []


def test_every_operation_has_a_tag_a_one_line_summary_and_a_name(document: dict[str, Any]) -> None:
    known = {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for _, operation in operations(document)]

    assert len(set(names)) == len(names)
    for _, operation in operations(document):
        assert set(operation["tags"]) <= known
        assert 0 < len(operation["summary"]) <= 60
        assert "\n" not in operation["summary"]


def test_the_examples_of_problems_are_problems(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Problem"]

    (example,) = schema["examples"]
    assert set(schema["required"]) <= example.keys() <= schema["properties"].keys()


async def test_the_example_definition_can_be_put_as_it_is(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    async with House().client() as client:
        answer = await client.put(
            "/experiments/spring-sale", json=schemas["ExperimentBody"]["examples"][0]
        )

    (example,) = schemas["ExperimentView"]["examples"]
    example["evidence"].setdefault("half_life", None)  # FastAPI leaves nulls out of the document.
    times = {"created_at": example["created_at"], "updated_at": example["updated_at"]}
    assert answer.status_code == 201
    assert {**answer.json(), **times} == example


async def test_answers_have_exactly_the_fields_of_their_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    house = House()
    async with house.client() as client:
        await put_and_send(house, client)
        report = (await client.get("/experiments/spring/report")).json()
        row = (await client.get("/experiments/spring/decisions.ndjson")).text.splitlines()[0]
        allocation = (await client.get("/experiments/spring/allocation")).json()

    assert report.keys() == schemas["Report"]["properties"].keys()
    assert report["variants"][0].keys() == schemas["VariantReport"]["properties"].keys()
    assert allocation.keys() == schemas["AllocationView"]["properties"].keys()
    assert all(f'"{name}":' in row for name in schemas["ExportedDecision"]["properties"])


async def put_and_send(house: House, client: httpx.AsyncClient) -> None:
    """Make an experiment with one rewarded decision."""
    await client.put("/experiments/spring", json={"variants": [{"id": "a"}, {"id": "b"}]})
    await house.send({0: 1}, {0: 1})
