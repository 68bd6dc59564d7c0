"""OpenAPI of the hot routes, made from the very structs that decode them."""

from __future__ import annotations

from typing import Any

import msgspec

from service.api import hot_schemas as schemas

_BODIES = (
    schemas.ChooseRequest,
    schemas.ChooseResponse,
    schemas.ChooseBatchRequest,
    schemas.ChooseBatchResponse,
    schemas.RewardRequest,
    schemas.RewardResponse,
    schemas.RewardBatchRequest,
    schemas.RewardBatchResponse,
)
_TOKEN = "kQ7yv0o3bG4rJ8m2ZpXc1QAAAAEAAAABAAEBnFmzWgAAAAcBAQBr1m0u5pYw2c8T4n6kQJxE"  # noqa: S105  An example.
_CHOOSE = {"experiment": "autumn", "unit": "r-1001", "occasion": "2026-11-24"}
_DECISION = {
    "decision_id": _TOKEN,
    "variant": "ten-off",
    "propensity": 0.6125,
    "source": "policy",
    "holdout": False,
    "replayed": False,
    "allocation_version": 7,
}
_EXAMPLES: dict[str, Any] = {
    "ChooseRequest": _CHOOSE,
    "ChooseResponse": {"experiment": "autumn", **_DECISION, "payload": {"subject": "Hello"}},
    "ChooseBatchRequest": {
        "experiment": "autumn",
        "occasion": "2026-11-24",
        "units": ["r-1001", "r-1002"],
    },
    "ChooseBatchResponse": {
        "decisions": [_DECISION],
        "payloads": {"ten-off": {"subject": "Hello"}},
    },
    "RewardRequest": {"decision_id": _TOKEN, "event": "conversion", "event_id": "order-77"},
    "RewardResponse": {"status": "accepted"},
    "RewardBatchRequest": {"rewards": [{"decision_id": _TOKEN}]},
    "RewardBatchResponse": {"results": [{"status": "accepted"}]},
}
_PROBLEMS = {
    404: "No such experiment, variant or decision.",
    405: "Another method is served here.",
    409: "The experiment has not started, or no eligible variant is active.",
    410: "The attribution window is closed; the reward is recorded as late.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The body does not fit the schema or the experiment.",
    500: "An unexpected error, which was logged.",
    503: "Neither the outbox nor the ledger can be written; try again.",
}
_CHOOSE_PROBLEMS = (404, 405, 409, 413, 415, 422, 500, 503)
_REWARD_PROBLEMS = (404, 405, 410, 413, 415, 422, 500, 503)
_BATCH_PROBLEMS = (405, 413, 415, 422, 500, 503)


def describe(openapi: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the hot routes' paths and schemas added."""
    components = openapi.setdefault("components", {}).setdefault("schemas", {})
    components.update(_components())
    openapi.setdefault("paths", {}).update(_paths())
    return openapi


def _components() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        _BODIES, ref_template="#/components/schemas/{name}"
    )
    found: dict[str, Any] = dict(components)
    for name, example in _EXAMPLES.items():
        found[name]["examples"] = [example]
    # Raw says nothing of its JSON; these three are objects.
    found["ChooseRequest"]["properties"]["context"] = {
        "anyOf": [{"type": "object"}, {"type": "null"}],
        "description": "Features known before deciding, kept with the decision.",
    }
    found["ChooseResponse"]["properties"]["payload"] = {"type": "object"}
    found["ChooseBatchResponse"]["properties"]["payloads"]["additionalProperties"] = {
        "type": "object"
    }
    found["RewardBatchRequest"]["properties"]["rewards"]["items"] = {
        "anyOf": [
            {"$ref": "#/components/schemas/RewardRequest"},
            {"description": "Anything else is called invalid in its own result."},
        ]
    }
    return found


def _paths() -> dict[str, Any]:
    choose = _operation(
        "choose",
        "Choose a variant for one unit",
        ("ChooseRequest", "ChooseResponse", _CHOOSE_PROBLEMS),
    )
    by_query = _operation(
        "choose_by_query",
        "Choose a variant from an e-mail template",
        (None, "ChooseResponse", (404, 405, 409, 422, 500, 503)),
    )
    by_query["parameters"] = _query_parameters()
    by_query["responses"]["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    batch = _operation(
        "choose_batch",
        "Choose for a whole send",
        ("ChooseBatchRequest", "ChooseBatchResponse", (404, 409, *_BATCH_PROBLEMS)),
    )
    reward = _operation(
        "reward", "Report a reward", ("RewardRequest", "RewardResponse", _REWARD_PROBLEMS)
    )
    reward["responses"]["202"] = _success("RewardResponse", "Queued: SQL is down, nothing is lost.")
    reward_batch = _operation(
        "reward_batch",
        "Report many rewards",
        ("RewardBatchRequest", "RewardBatchResponse", _BATCH_PROBLEMS),
    )
    return {
        "/choose": {"get": by_query, "post": choose},
        "/choose/batch": {"post": batch},
        "/reward": {"post": reward},
        "/reward/batch": {"post": reward_batch},
    }


def _operation(
    name: str, summary: str, shape: tuple[str | None, str, tuple[int, ...]]
) -> dict[str, Any]:
    request, response, problems = shape
    tag = "rewards" if name.startswith("reward") else "choices"
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {"200": _success(response, "Done."), **_problems(problems)},
    }
    if request is not None:
        operation["requestBody"] = {"required": True, "content": _content(request)}
    return operation


def _success(schema: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": _content(schema)}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": _PROBLEMS[status], "content": content}
        for status in sorted(statuses)
    }


def _query_parameters() -> list[dict[str, Any]]:
    properties = _components()["ChooseRequest"]["properties"]
    named = {"experiment": True, "unit": True, "occasion": False}
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": required,
            "schema": properties[name],
            "example": _CHOOSE[name],
        }
        for name, required in named.items()
    ]
    answer_format = {"type": "string", "enum": ["json", "text"], "default": "json"}
    parameters.append({"name": "format", "in": "query", "required": False, "schema": answer_format})
    return parameters
