"""POST /reward and /reward/batch, in process over memory stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from service.domain.clock import DAY_MS
from service.domain.experiment import ExperimentState, RewardSpec
from service.domain.reward import Reward, RewardStatus
from service.store.records import CommittedReward, Witness
from tests.hot_rig import NOW_MS, HandClock, HotRig, LedgerThatFails

SEND = {"experiment": "autumn", "unit": "u", "occasion": "o"}


@pytest.fixture
def rig() -> HotRig:
    rig = HotRig()
    rig.experiment(reward=RewardSpec(events={"conversion": 1.0, "open": 0.0}))
    return rig


@pytest.fixture
async def client(rig: HotRig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client() as client:
        yield client


@pytest.fixture
async def decision_id(client: httpx.AsyncClient) -> str:
    return str((await client.post("/choose", json=SEND)).json()["decision_id"])


async def reward(client: httpx.AsyncClient, decision_id: str, **body: object) -> httpx.Response:
    return await client.post("/reward", json={"decision_id": decision_id, **body})


async def conversions(rig: HotRig) -> int:
    return sum(bucket.conversions for bucket in (await rig.ledger.evidence(1)).buckets)


async def test_a_reward_is_in_the_ledger_when_it_is_accepted(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    answer = await reward(client, decision_id)

    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    assert await conversions(rig) == 1


async def test_the_same_reward_again_is_a_duplicate(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    answers = await asyncio.gather(*(reward(client, decision_id) for _ in range(20)))

    assert Counter(a.json()["status"] for a in answers) == {"accepted": 1, "duplicate": 19}
    assert await conversions(rig) == 1


async def test_an_event_id_tells_purchases_apart_but_a_decision_converts_once(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    for event_id in ("order-1", "order-2"):
        answer = await reward(client, decision_id, event_id=event_id)
        assert answer.json() == {"status": "accepted"}

    assert await conversions(rig) == 1


async def test_an_event_worth_nothing_is_recorded_and_converts_nobody(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    answer = await reward(client, decision_id, event="open")

    assert answer.json() == {"status": "accepted"}
    assert await conversions(rig) == 0


async def test_an_event_the_experiment_does_not_count_is_ignored_but_recorded(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    assert (await reward(client, decision_id, event="visit")).json() == {"status": "ignored"}
    assert (await reward(client, decision_id, event="visit")).json() == {"status": "duplicate"}
    assert await conversions(rig) == 0


async def test_a_reward_of_a_forced_choice_is_ignored(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    forced = (await client.post("/choose", json={**SEND, "force": "b"})).json()

    assert (await reward(client, forced["decision_id"])).json() == {"status": "ignored"}
    assert await conversions(rig) == 0


async def test_a_reward_after_the_window_answers_410_and_is_recorded_as_late(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.clock.at_ms += 7 * DAY_MS + 1
    answers = [await reward(client, decision_id) for _ in range(2)]
    rig.ledger.is_down = True

    assert [answer.status_code for answer in answers] == [410, 410]
    assert (await reward(client, decision_id)).status_code == 410
    *_, queued = [r for r in rig.outbox.records if isinstance(r, Reward)]
    assert type(queued) is Reward
    assert queued.status == RewardStatus.late
    assert await conversions(rig) == 0


async def test_a_reward_at_the_end_of_the_window_counts(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.clock.at_ms += 7 * DAY_MS

    assert (await reward(client, decision_id)).json() == {"status": "accepted"}
    rig.metrics.flush()
    sample = rig.metrics.registry.get_sample_value
    assert sample("promobandit_reward_lag_seconds_sum") == 7 * DAY_MS / 1_000
    assert sample("promobandit_reward_delivery_seconds_count") == 0


async def test_the_time_of_the_event_decides_not_the_time_of_the_call(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    occurred = datetime.fromtimestamp(NOW_MS / 1_000 + 60, UTC).isoformat()
    rig.clock.at_ms += 20 * DAY_MS

    assert (await reward(client, decision_id, occurred_at=occurred)).status_code == 200


@pytest.mark.parametrize("state", [ExperimentState.PAUSED, ExperimentState.STOPPED])
async def test_conversions_of_an_ended_experiment_still_count(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str, state: ExperimentState
) -> None:
    rig.experiment(state=state)

    assert (await reward(client, decision_id)).json() == {"status": "accepted"}


async def test_while_sql_is_down_a_reward_is_queued_and_synced(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.ledger.is_down = True
    answer = await reward(client, decision_id)

    assert (answer.status_code, answer.json()) == (202, {"status": "queued"})
    assert rig.outbox.syncs == 1
    assert isinstance(rig.outbox.records[-1], Reward)


async def test_after_a_failure_sql_is_asked_again_a_second_later(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.ledger.is_down = True
    await reward(client, decision_id)
    rig.ledger.is_down = False
    rig.clock.at_ms += 1_000

    assert (await reward(client, decision_id, event_id="2")).status_code == 200


async def test_what_sql_has_is_kept_here_too_marked_as_what_it_has(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    await asyncio.gather(*(reward(client, decision_id, event_id=i) for i in "aab"))

    kept = [record for record in rig.outbox.records if isinstance(record, Reward)]
    assert [type(each) for each in kept] == [Witness, CommittedReward, Reward]
    assert [each.event_id for each in kept] == ["a", "b", "a"]
    assert rig.outbox.syncs == 0


async def test_a_reward_that_sql_has_needs_no_outbox(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.outbox.is_full = True

    assert (await reward(client, decision_id)).json() == {"status": "accepted"}


async def test_with_neither_sql_nor_outbox_a_reward_is_503(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    rig.ledger.is_down = rig.outbox.is_full = True

    assert (await reward(client, decision_id)).status_code == 503


@pytest.mark.parametrize("token", ["", "x", "A" * 72, "é" * 72])
async def test_a_foreign_decision_id_answers_404(client: httpx.AsyncClient, token: str) -> None:
    assert (await reward(client, token)).status_code == 404


BAD: dict[str, dict[str, object]] = {
    "value of a binary reward": {"value": 2.5},
    "event of a bad form": {"event": "a b"},
    "event with a line end": {"event": "zz\n"},
    "no time zone": {"occurred_at": "2026-11-24T10:00:00"},
    "far future": {"occurred_at": "2035-01-01T00:00:00Z"},
    "long before the decision": {"occurred_at": "2020-01-01T00:00:00Z"},
    "event id with NUL": {"event_id": "a\0"},
    "long event id": {"event_id": "x" * 129},
    "unknown field": {"amount": 1},
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_reward_answers_422_and_records_nothing(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str, name: str
) -> None:
    answer = await reward(client, decision_id, **BAD[name])

    assert answer.status_code == 422
    assert await conversions(rig) == 0


async def test_a_bad_reward_in_a_batch_spoils_no_neighbour(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    items: list[Any] = [
        {"decision_id": decision_id},
        {"decision_id": "nobody's"},
        {"decision_id": decision_id, "value": "much"},
        7,
        {"decision_id": decision_id},
        {"decision_id": decision_id, "event_id": "2"},
    ]
    answer = await client.post("/reward/batch", json={"rewards": items})

    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == [
        "accepted",
        "unknown",
        "invalid",
        "invalid",
        "duplicate",
        "accepted",
    ]
    assert await conversions(rig) == 1


async def test_a_batch_says_which_rewards_are_late_or_queued(
    rig: HotRig, client: httpx.AsyncClient, decision_id: str
) -> None:
    second = (await client.post("/choose", json={**SEND, "unit": "v"})).json()["decision_id"]
    rig.ledger.is_down = True
    occurred = datetime.fromtimestamp(NOW_MS / 1_000 + 8 * 86_400, UTC).isoformat()
    rig.clock.at_ms += 9 * DAY_MS
    early = datetime.fromtimestamp(NOW_MS / 1_000, UTC).isoformat()
    items = [
        {"decision_id": decision_id, "occurred_at": occurred},
        {"decision_id": second, "occurred_at": early},
    ]
    answer = await client.post("/reward/batch", json={"rewards": items})

    assert [result["status"] for result in answer.json()["results"]] == ["late", "queued"]


class SlowLedger(LedgerThatFails):
    """A ledger that takes 1.5 seconds of the rig's clock for every transaction."""

    clock: HandClock

    async def append(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  Whatever the port says.
        """Append, slowly."""
        self.clock.at_ms += 1_500
        return await super().append(*args, **kwargs)


async def test_rewards_that_waited_too_long_for_their_turn_are_queued() -> None:
    ledger = SlowLedger()
    rig = HotRig(ledger=ledger)
    ledger.clock = rig.clock
    rig.experiment()
    async with rig.client() as client:
        decision_id = (await client.post("/choose", json=SEND)).json()["decision_id"]
        wish = {"decision_id": decision_id}
        body = {"rewards": [{**wish, "event_id": str(i)} for i in range(1_600)]}
        answer = await client.post("/reward/batch", json=body)

    found = Counter(result["status"] for result in answer.json()["results"])
    assert found == {"accepted": 1_000, "queued": 600}
