"""What becomes of rewards is tallied alike whether they come alone or many at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.domain.quality import NO_EXPERIMENT
from tests.fakes import House

Report = Callable[[httpx.AsyncClient, list[dict[str, Any]]], Awaitable[None]]


async def alone(client: httpx.AsyncClient, rewards: list[dict[str, Any]]) -> None:
    for reward in rewards:
        await client.post("/reward", json=reward)


async def together(client: httpx.AsyncClient, rewards: list[dict[str, Any]]) -> None:
    await client.post("/reward/batch", json={"rewards": rewards})


@pytest.mark.parametrize("report", [alone, together])
async def test_every_outcome_is_tallied(
    house: House, client: httpx.AsyncClient, report: Report
) -> None:
    await client.put("/experiments/spring", json={"variants": [{"id": "a"}, {"id": "b"}]})
    choice = await client.post("/choose", json={"experiment": "spring", "unit": "r-1"})
    own = {"decision_id": choice.json()["decision_id"]}
    wrong = {**own, "value": 7.5}
    ahead = {**own, "event_id": "2", "occurred_at": "2030-01-01T00:00:00Z"}
    other = {**own, "event": "viewed"}
    await report(client, [own, own, wrong, ahead, other, {"decision_id": "x" * 72}])
    await house.services.rewards.tallies.flush()

    tallied = {
        (key.experiment, key.outcome.value): tally.count
        for number in (NO_EXPERIMENT, 1)
        for key, tally in (await house.tallies.rows(number, 0)).items()
    }
    assert tallied == {
        (1, "accepted"): 1,
        (1, "duplicate"): 1,
        (1, "invalid"): 2,
        (1, "ignored"): 1,
        (NO_EXPERIMENT, "unknown"): 1,
    }
