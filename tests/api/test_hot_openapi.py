"""The hot routes' OpenAPI and what they answer, held together."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema
import pytest

from service.api.hot import HotRoutes
from service.api.hot_openapi import describe
from tests.hot_rig import HotRig

SEND = {"experiment": "autumn", "unit": "u", "occasion": "o"}
BATCH = {"experiment": "autumn", "occasion": "o", "units": ["u", "v"]}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"detail": {"type": "string", "maxLength": 300}},
}
DOCUMENT = describe({"components": {"schemas": {"Problem": PROBLEM}}})
HOT_OPERATIONS = [
    (method, path) for path, by_method in DOCUMENT["paths"].items() for method in by_method
]
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "choose": ("post", "/choose", SEND),
    "choose with everything": (
        "post",
        "/choose",
        {**SEND, "eligible": ["a"], "context": {"x": 1}, "force": "a"},
    ),
    "choose of nobody": ("post", "/choose", {"experiment": "autumn"}),
    "choose in winter": ("post", "/choose", {**SEND, "experiment": "winter"}),
    "choose batch": ("post", "/choose/batch", BATCH),
    "choose batch of nobody": ("post", "/choose/batch", {**BATCH, "units": []}),
    "reward of nobody": ("post", "/reward", {"decision_id": "x"}),
    "reward of nothing": ("post", "/reward", {}),
    "reward batch": ("post", "/reward/batch", {"rewards": [{"decision_id": "x"}, 1]}),
    "reward batch of none": ("post", "/reward/batch", {"rewards": []}),
}


def schema_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references resolve inside the document."""
    return {**content["schema"], "components": DOCUMENT["components"]}


def check_documented(answer: httpx.Response, method: str, path: str) -> None:
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status_code) in responses
    content = responses[str(answer.status_code)]["content"]
    media_type = answer.headers["content-type"].split(";")[0]
    if media_type != "text/plain":
        jsonschema.validate(answer.json(), schema_of(content[media_type]))


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_answer_is_documented_and_fits_its_schema(name: str) -> None:
    rig = HotRig()
    rig.experiment()
    method, path, body = REQUESTS[name]
    async with rig.client() as client:
        answer = await client.request(method, path, json=body)

    check_documented(answer, method, path)


@pytest.mark.parametrize("answer_format", ["json", "text", "xml"])
async def test_every_template_answer_is_documented(answer_format: str) -> None:
    rig = HotRig()
    rig.experiment()
    async with rig.client() as client:
        answer = await client.get("/choose", params={**SEND, "format": answer_format})

    check_documented(answer, "get", "/choose")


async def test_the_answers_to_rewards_are_documented() -> None:
    rig = HotRig()
    rig.experiment()
    async with rig.client() as client:
        decided = (await client.post("/choose", json=SEND)).json()
        body = {"decision_id": decided["decision_id"]}
        answers = [await client.post("/reward", json=body) for _ in range(2)]
        rig.ledger.is_down = True
        answers.append(await client.post("/reward", json=body))

    assert [answer.status_code for answer in answers] == [200, 200, 202]
    for answer in answers:
        check_documented(answer, "post", "/reward")


@pytest.mark.parametrize("name", [n for n, (_, _, body) in REQUESTS.items() if body])
async def test_the_schema_and_the_decoder_agree_on_what_is_valid(name: str) -> None:
    rig = HotRig()
    rig.experiment()
    method, path, body = REQUESTS[name]
    content = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]
    async with rig.client() as client:
        answer = await client.request(method, path, json=body)

    validator = jsonschema.Draft202012Validator(schema_of(content))
    is_refused = answer.status_code == 422
    if path != "/reward/batch":  # There a bad item is an outcome, not an error.
        assert validator.is_valid(body) is not is_refused


def test_every_hot_route_is_documented() -> None:
    rig = HotRig()
    routes = HotRoutes(rig.decisions, None, rig.rewards)  # type: ignore[arg-type]
    served = {
        (method.lower(), path) for path, by_method in routes.by_path.items() for method in by_method
    }

    assert served == set(HOT_OPERATIONS)


@pytest.mark.parametrize(
    "name",
    [name for name, schema in DOCUMENT["components"]["schemas"].items() if "examples" in schema],
)
def test_every_example_fits_its_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]

    for example in schema["examples"]:
        jsonschema.validate(example, {**schema, "components": DOCUMENT["components"]})
