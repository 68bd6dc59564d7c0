"""Two tenants and every route: whoever has no key for it learns nothing of the other's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.api import app as application
from service.domain.access import Scope
from service.domain.reward import Reward
from tests.fakes import House
from tests.keys import let_in

PUBLIC = {"GET /", "GET /livez", "GET /readyz"}
# Written down here again: the test must not ask the code that it tests.
NEEDED = {
    "GET /choose": Scope.CHOOSE,
    "POST /choose": Scope.CHOOSE,
    "POST /choose/batch": Scope.CHOOSE,
    "POST /reward": Scope.REWARD,
    "POST /reward/batch": Scope.REWARD,
    "GET /experiments": Scope.REPORT,
    "GET /experiments/{experiment_id}": Scope.REPORT,
    "PUT /experiments/{experiment_id}": Scope.ADMIN,
    "GET /experiments/{experiment_id}/allocation": Scope.REPORT,
    "GET /experiments/{experiment_id}/trail": Scope.ADMIN,
    "POST /experiments/{experiment_id}/pause": Scope.ADMIN,
    "POST /experiments/{experiment_id}/resume": Scope.ADMIN,
    "POST /experiments/{experiment_id}/stop": Scope.ADMIN,
    "POST /experiments/{experiment_id}/variants/{variant_id}/pause": Scope.ADMIN,
    "POST /experiments/{experiment_id}/variants/{variant_id}/resume": Scope.ADMIN,
    "POST /experiments/{experiment_id}/variants/{variant_id}/retire": Scope.ADMIN,
    "GET /experiments/{experiment_id}/health": Scope.REPORT,
    "GET /experiments/{experiment_id}/report": Scope.REPORT,
    "GET /experiments/{experiment_id}/report.csv": Scope.REPORT,
    "GET /experiments/{experiment_id}/decisions.ndjson": Scope.REPORT,
    "GET /experiments/{experiment_id}/decisions.csv": Scope.REPORT,
    "POST /erasures": Scope.ADMIN,
    "GET /erasures/{erasure_id}": Scope.ADMIN,
    "GET /webhooks": Scope.ADMIN,
    "PUT /webhooks/{webhook_id}": Scope.ADMIN,
    "GET /webhooks/{webhook_id}": Scope.ADMIN,
    "DELETE /webhooks/{webhook_id}": Scope.ADMIN,
    "POST /webhooks/{webhook_id}/test": Scope.ADMIN,
    "GET /trail": Scope.ADMIN,
    "GET /metrics": Scope.METRICS,
    "GET /sla": Scope.METRICS,
}
# What a stranger must never read: everything of these is one tenant's own.
SECRETS = (
    "owners-sale",
    "owners-variant",
    "owners-subject",
    "owners-unit",
    "owners-occasion",
    "owners-hook",
)
DEFINITION = {
    "variants": [
        {"id": "owners-variant", "payload": {"subject": "owners-subject"}},
        {"id": "owners-variant-2"},
    ]
}
ABSENT = {  # What an unknown experiment, decision or erasure is answered.
    "GET /experiments": 200,
    "PUT /experiments/{experiment_id}": 201,
    "POST /reward/batch": 200,
    "POST /erasures": 202,
    "GET /webhooks": 200,
    "PUT /webhooks/{webhook_id}": 200,
    "GET /trail": 200,
    "GET /metrics": 403,
    "GET /sla": 403,
}


def routes() -> Iterator[str]:
    """Give every route that is served, as the routers themselves tell the OpenAPI document."""
    app: Any = application.create_app(House().services)
    while not isinstance(app, FastAPI):
        app = getattr(app, "_inner", None) or app._app
    for path, operations in app.openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in operations)


ROUTES = sorted(routes())


@dataclass
class Tenants:
    """One tenant with data, and keys of it and of a stranger."""

    house: House = field(default_factory=House)
    decision_id: str = ""
    erasure_id: str = ""

    async def settle(self) -> None:
        """Give the owner an experiment, a decision, a reward, an erasure and a webhook."""
        self.owner = let_in(self.house.keyring, tenant=1)
        self.stranger = let_in(self.house.keyring, tenant=2)
        async with self.house.client(self.owner) as client:
            await client.put("/experiments/owners-sale", json=DEFINITION)
            choice = {"experiment": "owners-sale", "unit": "owners-unit"}
            answer = await client.post("/choose", json={**choice, "occasion": "owners-occasion"})
            self.decision_id = answer.json()["decision_id"]
            await client.post("/reward", json={"decision_id": self.decision_id})
            erased = await client.post("/erasures", json={"unit": "owners-unit"})
            hook = {"url": "https://example.com/owners-hook"}
            await client.put("/webhooks/owners-sale", json=hook)
            self.erasure_id = str(erased.json()["id"])

    def request(
        self, route: str, experiment: str, decision_id: str, erasure: str
    ) -> dict[str, Any]:
        """Return a request of a route that would find the owner's data if it were let."""
        method, _, path = route.partition(" ")
        path = path.format(
            experiment_id=experiment,
            variant_id="owners-variant",
            erasure_id=erasure,
            webhook_id=experiment,  # The owner's has the same id.
        )
        send = {"experiment": experiment, "occasion": "owners-occasion"}
        bodies: dict[str, Any] = {
            "POST /choose": {**send, "unit": "owners-unit"},
            "POST /choose/batch": {**send, "units": ["owners-unit"]},
            "POST /reward": {"decision_id": decision_id},
            "POST /reward/batch": {"rewards": [{"decision_id": decision_id}]},
            "PUT /experiments/{experiment_id}": {"variants": [{"id": "x"}, {"id": "y"}]},
            "POST /erasures": {"unit": "nobody"},
            "PUT /webhooks/{webhook_id}": {"url": "https://example.com/"},
        }
        params = {**send, "unit": "owners-unit"} if route == "GET /choose" else None
        return {"method": method, "url": path, "json": bodies.get(route), "params": params}

    def of_owner(self, route: str) -> dict[str, Any]:
        """Return a request for the owner's data."""
        return self.request(route, "owners-sale", self.decision_id, self.erasure_id)

    def of_nobody(self, route: str) -> dict[str, Any]:
        """Return the same request for what nobody has."""
        return self.request(route, "no-such", self.decision_id[::-1], "999999")


@pytest.fixture
async def tenants() -> Tenants:
    found = Tenants()
    await found.settle()
    return found


def test_every_route_is_in_the_matrix() -> None:
    assert set(ROUTES) == set(NEEDED) | PUBLIC


@pytest.mark.parametrize("route", ROUTES)
async def test_nobody_without_a_key_is_let_in(tenants: Tenants, route: str) -> None:
    async with tenants.house.client() as client:
        answer = await client.request(**tenants.of_owner(route))

    if route in PUBLIC:
        assert answer.status_code in {200, 503}
    else:
        assert answer.status_code == 401
    assert not [secret for secret in SECRETS if secret in answer.text]


@pytest.mark.parametrize("route", sorted(NEEDED))
async def test_a_key_opens_the_routes_of_its_scope(tenants: Tenants, route: str) -> None:
    key = let_in(tenants.house.keyring, tenant=1, scopes=[NEEDED[route]])

    async with tenants.house.client(key) as client:
        answer = await client.request(**tenants.of_owner(route))

    assert answer.status_code not in {401, 403, 404}


@pytest.mark.parametrize("route", sorted(NEEDED))
async def test_a_key_of_all_other_scopes_opens_nothing(tenants: Tenants, route: str) -> None:
    answers = []

    for scope in set(Scope) - {NEEDED[route]}:
        key = let_in(tenants.house.keyring, tenant=1, scopes=[scope])
        async with tenants.house.client(key) as client:
            answers.append(await client.request(**tenants.of_owner(route)))

    assert [answer.status_code for answer in answers] == [403] * (len(Scope) - 1)
    assert not [s for s in SECRETS for answer in answers if s in answer.text]


@pytest.mark.parametrize("route", sorted(NEEDED))
async def test_anothers_data_looks_the_same_as_none(tenants: Tenants, route: str) -> None:
    async with tenants.house.client(tenants.stranger) as client:
        answer = await client.request(**tenants.of_owner(route))
        absent = await client.request(**tenants.of_nobody(route))

    assert answer.status_code == absent.status_code == ABSENT.get(route, 404)
    if answer.status_code == 404:
        assert answer.content == absent.content
    # Who makes an experiment of their own is answered the id they gave it.
    secrets = SECRETS[1:] if route.startswith("PUT") else SECRETS
    assert not [secret for secret in secrets if secret in answer.text]


async def test_a_stranger_changes_nothing_of_the_owners(tenants: Tenants) -> None:
    house = tenants.house
    before = await house.store.get(1, "owners-sale")
    rewards = await rewards_of(house)

    async with house.client(tenants.stranger) as client:
        for route in sorted(NEEDED):
            await client.request(**tenants.of_owner(route))

    assert await house.store.get(1, "owners-sale") == before
    assert await rewards_of(house) == rewards
    assert (await house.store.get(2, "owners-sale")).number != before.number


async def rewards_of(house: House) -> list[Reward]:
    rows, _ = await house.ledger.rows(1, None, 100)
    return [reward for row in rows for reward in row.rewards]


async def test_a_list_holds_only_ones_own(tenants: Tenants) -> None:
    async with tenants.house.client(tenants.stranger) as client:
        await client.put("/experiments/strangers", json={"variants": [{"id": "a"}, {"id": "b"}]})
        listed = (await client.get("/experiments")).json()

    assert [each["id"] for each in listed["experiments"]] == ["strangers"]
    assert "owners" not in json.dumps(listed)


async def test_a_reward_of_anothers_decision_is_unknown_among_ones_own(tenants: Tenants) -> None:
    body = {"rewards": [{"decision_id": tenants.decision_id}]}

    async with tenants.house.client(tenants.stranger) as client:
        answer: httpx.Response = await client.post("/reward/batch", json=body)

    assert [each["status"] for each in answer.json()["results"]] == ["unknown"]
