"""Too much at once, and callers in a hurry: refusals in time, and choices without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from typing import Any

import pytest

from service.api.admission import Priority
from service.bulk import SLICE_UNITS
from service.errors import RedisUnavailableError
from service.store.memory_redis import MemoryReplays
from tests.hot_rig import HotRig, LedgerThatFails

CHOICE = {"experiment": "autumn", "unit": "u", "occasion": "o"}


class SlowReplays(MemoryReplays):
    """A memory that keeps its deadline and needs 50 ms."""

    seconds = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: list[float | None] = []

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Answer after a while, if that is in time."""
        self.deadlines.append(deadline_ms)
        if deadline_ms is not None and deadline_ms < self.seconds * 1_000:
            await asyncio.sleep(deadline_ms / 1_000)
            raise RedisUnavailableError("late")
        await asyncio.sleep(self.seconds)
        return await super().remember(keys, values, now_ms)


class SlowLedger(LedgerThatFails):
    """A ledger that needs half a second."""

    async def append(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  Whatever the port says.
        """Append after a while."""
        await asyncio.sleep(0.5)
        return await super().append(*args, **kwargs)


class HungLedger(LedgerThatFails):
    """A ledger that never answers."""

    async def append(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, ARG002
        """Wait for ever."""
        await asyncio.Event().wait()


@pytest.fixture
def replays() -> SlowReplays:
    return SlowReplays()


@pytest.fixture
def rig(replays: SlowReplays) -> HotRig:
    rig = HotRig(replays=replays)
    rig.experiment()
    return rig


async def chosen(rig: HotRig, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with rig.client() as client:
        answer = await client.post("/choose", json=CHOICE, headers=named)
    found: dict[str, Any] = answer.json()
    return {"status_code": answer.status_code, **found}


async def test_a_patient_caller_waits_for_redis(rig: HotRig, replays: SlowReplays) -> None:
    found = await chosen(rig)

    assert (found["source"], replays.deadlines) == ("policy", [None])


async def test_a_caller_in_a_hurry_is_answered_without_redis(rig: HotRig) -> None:
    found = await chosen(rig, x_budget_ms="20")

    assert (found["status_code"], found["source"]) == (200, "fallback")


async def test_a_caller_with_no_time_left_does_not_even_ask(
    rig: HotRig, replays: SlowReplays
) -> None:
    found = await chosen(rig, x_budget_ms="2")

    assert (found["source"], replays.deadlines) == ("fallback", [0.0])


async def test_a_hasty_caller_leaves_the_others_their_time(rig: HotRig) -> None:
    async with rig.client() as client:
        hasty, patient = await asyncio.gather(
            client.post("/choose", json=CHOICE, headers={"X-Budget-Ms": "20"}),
            client.post("/choose", json={**CHOICE, "unit": "v"}),
        )

    assert (hasty.json()["source"], patient.json()["source"]) == ("fallback", "policy")


@pytest.mark.parametrize("budget", ["9999", "9" * 6_000])
async def test_a_budget_beyond_the_longest_is_taken_for_it(rig: HotRig, budget: str) -> None:
    found = await chosen(rig, x_budget_ms=budget)

    assert found["source"] == "policy"


@pytest.mark.parametrize("budget", ["0", "000"])
async def test_no_budget_at_all_is_no_time_for_redis(rig: HotRig, budget: str) -> None:
    found = await chosen(rig, x_budget_ms=budget)

    assert (found["status_code"], found["source"]) == (200, "fallback")


@pytest.mark.parametrize("budget", ["", "-1", "1.5", "1e3", "soon", " 5x"])
async def test_a_budget_that_is_no_number_is_a_422(rig: HotRig, budget: str) -> None:
    found = await chosen(rig, x_budget_ms=budget)

    assert found["status_code"] == 422
    assert found["detail"] == "X-Budget-Ms must be a whole number of milliseconds"


async def test_a_send_out_of_time_goes_on_without_redis(rig: HotRig, replays: SlowReplays) -> None:
    send = {"experiment": "autumn", "occasion": "o", "units": [f"u{i}" for i in range(600)]}

    async with rig.client() as client:
        answer = await client.post("/choose/batch", json=send, headers={"X-Budget-Ms": "1"})

    assert {each["source"] for each in answer.json()["decisions"]} == {"fallback"}
    assert len(replays.deadlines) == ceil(600 / SLICE_UNITS)


async def test_a_full_house_answers_503_and_when_to_come_back(rig: HotRig) -> None:
    rig.admission.limit(Priority.CHOOSE).in_flight = 10_000

    async with rig.client() as client:
        answer = await client.post("/choose", json=CHOICE)

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
    assert 1 <= int(answer.headers["retry-after"]) <= 3


async def test_rewards_are_let_in_while_choices_are_not(rig: HotRig) -> None:
    decision_id = (await chosen(rig))["decision_id"]
    rig.admission.limit(Priority.CHOOSE).in_flight = 10_000

    async with rig.client() as client:
        answer = await client.post("/reward", json={"decision_id": decision_id})

    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})


async def test_a_send_of_the_largest_size_keeps_no_single_choice_out(rig: HotRig) -> None:
    units = [f"{i:0250d}" for i in range(10_000)]
    send = {"experiment": "autumn", "occasion": "o", "units": units}

    async with rig.client() as client:
        sends = [asyncio.create_task(client.post("/choose/batch", json=send)) for _ in range(3)]
        await asyncio.sleep(0)
        single = await client.post("/choose", json=CHOICE)
        statuses = [(await each).status_code for each in sends]

    assert (single.status_code, statuses) == (200, [200, 200, 200])


@pytest.mark.parametrize("units", [1, 200])
async def test_what_is_answered_gives_its_places_back(rig: HotRig, units: int) -> None:
    send = {"experiment": "autumn", "occasion": "o", "units": [f"u{i}" for i in range(units)]}

    async with rig.client() as client:
        await client.post("/choose/batch", json=send)
        await client.post("/choose/batch", json={**send, "experiment": "unknown"})

    assert rig.admission.limit(Priority.SEND).in_flight == 0


async def test_a_reward_in_a_hurry_is_queued_while_sql_is_slow(replays: SlowReplays) -> None:
    rig = HotRig(replays=replays, ledger=SlowLedger())
    rig.experiment()
    decision_id = (await chosen(rig))["decision_id"]

    async with rig.client() as client:
        body = {"decision_id": decision_id}
        hasty = await client.post("/reward", json=body, headers={"X-Budget-Ms": "120"})

    assert (hasty.status_code, hasty.json()) == (202, {"status": "queued"})


async def test_without_an_outbox_a_hung_sql_is_waited_for_once() -> None:
    rig = HotRig(ledger=HungLedger())
    rig.experiment()
    rig.outbox.is_full = True

    first, second = await chosen(rig), await asyncio.wait_for(chosen(rig), 0.5)

    assert (first["status_code"], second["status_code"]) == (503, 503)
