"""The health of an experiment: what each check last said, and what is said before it has."""

from __future__ import annotations

import httpx

from service.domain.quality import CheckState, QualityState
from tests.fakes import House


def state(check: str, level: CheckState, since_ms: int, experiment: int = 1) -> QualityState:
    sentence = f"{check} is {level.name}"
    return QualityState(experiment, check, level, since_ms, since_ms + 5_000, sentence, {"n": 1.0})


async def test_health_is_unknown_before_anybody_has_looked(client: httpx.AsyncClient) -> None:
    await client.put("/experiments/spring", json={"variants": [{"id": "a"}, {"id": "b"}]})
    body = (await client.get("/experiments/spring/health")).json()

    assert (body["state"], body["checked_at"]) == ("unknown", None)
    assert [check["state"] for check in body["checks"]] == ["unknown"] * 6
    assert body["sentence"].startswith("Nobody has looked yet")


async def test_health_is_that_of_the_worst_check_of_this_experiment(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json={"variants": [{"id": "a"}, {"id": "b"}]})
    begun = house.clock.at_ms
    await house.quality_states.save(
        [
            state("split", CheckState.ok, begun),
            state("orphans", CheckState.warning, begun),
            state("values", CheckState.warning, begun - 1_000),
            state("duplicates", CheckState.alarm, begun, experiment=2),
        ]
    )
    body = (await client.get("/experiments/spring/health")).json()

    assert (body["state"], body["sentence"]) == ("warning", "values is warning")
    checks = {check["check"]: check for check in body["checks"]}
    assert checks["orphans"]["figures"] == {"n": 1.0}
    assert checks["duplicates"]["state"] == "unknown"
    assert checks["split"]["since"] < checks["split"]["checked_at"] == body["checked_at"]


async def test_an_unknown_experiment_has_no_health(client: httpx.AsyncClient) -> None:
    answer = await client.get("/experiments/nothing/health")

    assert answer.status_code == 404
