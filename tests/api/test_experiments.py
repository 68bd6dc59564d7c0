"""The admin routes: define, change, show; status, body and headers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fakes import House
from tests.keys import let_in

AB: dict[str, Any] = {"variants": [{"id": "a"}, {"id": "b", "payload": {"subject": "Hello"}}]}
WHOLE: dict[str, Any] = {
    "variants": [
        {"id": "control", "is_control": False, "payload": {}},
        {"id": "ten-off", "is_control": True, "payload": {"subject": "Hi", "n": [1, None, {}]}},
    ],
    "policy": {"name": "epsilon_greedy", "epsilon": 0.1},
    "reward": {"kind": "binary", "events": {"order": 1.0, "unsubscribe": 0.0}, "window": "PT36H"},
    "evidence": {"half_life": "P30D", "delay": "none"},
    "exploration_floor": 0.02,
    "holdout": {"share": 0.1, "kind": "control"},
    "guardrails": [],
    "state": "draft",
}


async def put(client: httpx.AsyncClient, body: dict[str, Any] = AB, **changes: Any) -> Any:  # noqa: ANN401
    return await client.put("/experiments/spring", json={**body, **changes})


async def post(client: httpx.AsyncClient, act: str) -> httpx.Response:
    return await client.post(f"/experiments/spring/{act}")


async def test_a_new_experiment_answers_201_and_the_defaults(client: httpx.AsyncClient) -> None:
    answer = await put(client)

    assert answer.status_code == 201
    assert answer.json() == {
        "id": "spring",
        "variants": [
            {"id": "a", "is_control": True, "payload": {}, "state": "active"},
            {"id": "b", "is_control": False, "payload": {"subject": "Hello"}, "state": "active"},
        ],
        "policy": {"name": "thompson"},
        "reward": {"kind": "binary", "events": {"conversion": 1.0}, "window": "P7D"},
        "evidence": {"half_life": None, "delay": "none"},
        "exploration_floor": 0.01,
        "holdout": {"share": 0.0, "kind": "uniform"},
        "guardrails": [],
        "state": "running",
        "revision": 1,
        "created_at": "2026-11-18T11:06:40.000Z",
        "updated_at": "2026-11-18T11:06:40.000Z",
    }


async def test_what_is_shown_has_the_shape_of_what_was_put(client: httpx.AsyncClient) -> None:
    await put(client, WHOLE)

    shown = (await client.get("/experiments/spring")).json()

    settings = {name: shown[name] for name in WHOLE if name != "variants"}
    variants = [{k: v for k, v in each.items() if k != "state"} for each in shown["variants"]]
    assert {"variants": variants, **settings} == WHOLE


async def test_an_update_answers_200_and_the_next_revision(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client)
    house.clock.at_ms += 60_000

    answer = await put(client, exploration_floor=0.05)

    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    assert answer.json()["created_at"] == "2026-11-18T11:06:40.000Z"
    assert answer.json()["updated_at"] == "2026-11-18T11:07:40.000Z"


async def test_the_same_body_again_answers_200_and_the_same_revision(
    client: httpx.AsyncClient,
) -> None:
    first = await put(client, WHOLE)

    again = await put(client, WHOLE)

    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_variant_is_added_while_running(client: httpx.AsyncClient) -> None:
    await put(client)

    await put(client, {"variants": [{"id": "c"}, *AB["variants"]]}, state="running")

    allocation = (await client.get("/experiments/spring/allocation")).json()
    assert [v["variant"] for v in allocation["variants"]] == ["a", "b", "c"]
    assert [v["is_control"] for v in allocation["variants"]] == [False, False, True]
    assert all(v["propensity"] > 0 for v in allocation["variants"])


async def test_evidence_survives_every_change_of_a_variant(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client)
    await house.send({0: 10, 1: 20}, {1: 5})

    await post(client, "variants/b/pause")
    await put(client, {"variants": [*AB["variants"], {"id": "c"}]})
    await post(client, "variants/b/retire")

    allocation = (await client.get("/experiments/spring/allocation")).json()
    assert [
        (v["state"], v["effective_pulls"], v["effective_successes"]) for v in allocation["variants"]
    ] == [("active", 10.0, 0.0), ("retired", 20.0, 5.0), ("active", 0.0, 0.0)]


async def test_a_missing_variant_is_a_422_that_says_what_to_do(client: httpx.AsyncClient) -> None:
    await put(client)

    answer = await put(client, {"variants": [{"id": "a"}]})

    assert answer.status_code == 422
    assert "pause or retire it instead" in answer.json()["detail"]


async def test_a_retired_id_in_a_body_is_a_409(client: httpx.AsyncClient) -> None:
    await put(client)
    await post(client, "variants/b/retire")

    answer = await put(client)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/state-conflict")


async def test_the_control_is_retired_once_another_one_is(client: httpx.AsyncClient) -> None:
    await put(client)
    refused = await post(client, "variants/a/retire")
    await put(client, {"variants": [{"id": "a"}, {"id": "b", "is_control": True}]})

    retired = await post(client, "variants/a/retire")

    assert (refused.status_code, retired.status_code) == (409, 200)
    assert [(v["state"], v["is_control"]) for v in retired.json()["variants"]] == [
        ("retired", False),
        ("active", True),
    ]


async def test_a_life_from_draft_to_stopped(client: httpx.AsyncClient) -> None:
    await put(client, state="draft")

    states = [(await post(client, act)).json()["state"] for act in ("resume", "pause", "stop")]

    assert states == ["running", "paused", "stopped"]
    assert (await post(client, "resume")).status_code == 409
    assert (await put(client, exploration_floor=0.5)).status_code == 409


async def test_a_draft_is_not_sent_until_it_is_started(client: httpx.AsyncClient) -> None:
    await put(client, state="draft")
    choice = {"experiment": "spring", "unit": "ann", "occasion": "today"}

    before = await client.post("/choose", json=choice)
    await put(client, state="running")
    after = await client.post("/choose", json=choice)

    assert (before.status_code, after.status_code) == (409, 200)


async def test_the_next_choice_obeys_an_act_already(client: httpx.AsyncClient) -> None:
    await put(client)
    await post(client, "variants/a/pause")

    chosen = {
        (await client.post("/choose", json={"experiment": "spring", "unit": f"u{i}"})).json()[
            "variant"
        ]
        for i in range(20)
    }

    assert chosen == {"b"}


async def test_a_paused_variant_is_resumed_with_its_evidence(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client)
    await house.send({1: 20}, {1: 5})

    states = [
        (await post(client, f"variants/b/{act}")).json()["variants"][1]["state"]
        for act in ("pause", "resume")
    ]

    allocation = (await client.get("/experiments/spring/allocation")).json()
    assert states == ["paused", "active"]
    assert allocation["variants"][1]["effective_pulls"] == 20.0
    assert 0.2 < allocation["variants"][1]["propensity"] < 0.3


async def test_the_list_has_pages(client: httpx.AsyncClient) -> None:
    for name in "abc":
        await client.put(f"/experiments/{name}", json=AB)

    first = (await client.get("/experiments", params={"limit": 2})).json()
    second = (await client.get("/experiments", params={"after": first["next"]})).json()

    assert [[e["id"] for e in page["experiments"]] for page in (first, second)] == [
        ["a", "b"],
        ["c"],
    ]
    assert second["next"] is None


async def test_the_trail_names_the_actor(client: httpx.AsyncClient) -> None:
    await client.put("/experiments/spring", json=AB, headers={"X-Actor": "ada@example.com"})
    await post(client, "pause")

    trail = (await client.get("/experiments/spring/trail")).json()

    assert trail["experiment"] == "spring"
    assert [(e["actor"], e["action"]) for e in trail["entries"]] == [
        ("ada@example.com", "create"),
        ("anonymous", "pause"),
    ]
    assert trail["entries"][0]["before"] is None
    assert trail["entries"][1]["before"] == trail["entries"][0]["after"]
    assert trail["entries"][1]["after"]["state"] == "paused"


async def test_an_allocation_shows_exact_weights_and_its_evidence(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client, exploration_floor=0.0)
    await house.send({0: 1_000, 1: 1_000}, {0: 100, 1: 120})
    await put(client, exploration_floor=0.01)

    allocation = (await client.get("/experiments/spring/allocation")).json()

    assert allocation.keys() == {
        *("experiment", "version", "revision", "state", "created_at", "reason"),
        *("holdout", "evidence_revision", "variants"),
    }
    assert (allocation["version"], allocation["revision"]) == (2, 2)
    assert sum(v["weight"] for v in allocation["variants"]) == 2**32
    for variant in allocation["variants"]:
        assert variant["propensity"] == variant["weight"] / 2**32
    # statistics of two known posteriors, mixed with a floor of 0.01 each
    assert allocation["variants"][1]["propensity"] == pytest.approx(
        0.01 + 0.98 * 0.9231834390, abs=1e-8
    )
    assert [v["effective_pulls"] for v in allocation["variants"]] == [1_000.0, 1_000.0]


async def test_another_tenant_has_experiments_of_its_own(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client)

    async with house.client(let_in(house.keyring, tenant=2)) as stranger:
        assert (await stranger.get("/experiments/spring")).status_code == 404
        assert (await stranger.get("/experiments")).json()["experiments"] == []
        assert (await stranger.get("/experiments/spring/allocation")).status_code == 404
        assert (await stranger.put("/experiments/spring", json=AB)).status_code == 201


async def test_an_update_that_others_keep_overtaking_is_a_409(
    house: House, client: httpx.AsyncClient
) -> None:
    await put(client)
    house.store.losses = 100

    answer = await put(client, exploration_floor=0.3)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/revision-conflict")
