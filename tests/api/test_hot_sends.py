"""GET /choose and POST /choose/batch, in process over memory stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from service.domain.decision import Decision
from service.domain.experiment import Variant
from service.domain.token import TokenCodec
from service.store.memory_redis import MemoryReplays
from service.store.records import UNREACHED
from tests.hot_rig import HotRig

SEND = {"experiment": "autumn", "unit": "u", "occasion": "o"}


@pytest.fixture
def rig() -> HotRig:
    rig = HotRig()
    rig.experiment()
    return rig


@pytest.fixture
async def client(rig: HotRig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client() as client:
        yield client


async def choose(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await client.post("/choose", json={**SEND, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def recorded(rig: HotRig) -> list[Decision]:
    return [record for record in rig.outbox.records if isinstance(record, Decision)]


class CrowdCounter(MemoryReplays):
    """Counts how many callers wait for it at once."""

    waiting = 0
    waiting_max = 0

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Remember, a moment later."""
        self.waiting += 1
        self.waiting_max = max(self.waiting_max, self.waiting)
        await asyncio.sleep(0.001)
        self.waiting -= 1
        return await super().remember(keys, values, now_ms, deadline_ms)


class HalfGone(MemoryReplays):
    """A cluster of which the node with the upper half of the keys is gone."""

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Remember, and tell only of the lower half."""
        earlier = await super().remember(keys, values, now_ms, deadline_ms)
        told = zip(keys, earlier, strict=True)
        return [UNREACHED if key[0] >= 0x80 else answer for key, answer in told]


async def test_only_what_a_lost_part_of_the_memory_has_is_a_fallback(
    client: httpx.AsyncClient, rig: HotRig
) -> None:
    rig.decisions.replays = HalfGone()
    units = [f"u{i}" for i in range(40)]
    sends = {"experiment": "autumn", "occasion": "o", "units": [*units, *units]}
    decisions = (await client.post("/choose/batch", json=sends)).json()["decisions"]
    is_upper = {d.unit: d.key[0] >= 0x80 for d in recorded(rig)}
    sources = {u: d["source"] for u, d in zip([*units, *units], decisions, strict=True)}

    assert set(is_upper.values()) == {True, False}
    assert sources == {u: "fallback" if is_upper[u] else "policy" for u in units}
    assert [d["replayed"] for d in decisions] == [False] * 40 + [True] * 40
    assert [d["decision_id"] for d in decisions[:40]] == [d["decision_id"] for d in decisions[40:]]


async def test_a_template_gets_the_same_answer_by_get(client: httpx.AsyncClient) -> None:
    first = await choose(client)
    answer = (await client.get("/choose", params=SEND)).json()

    assert answer == {**first, "replayed": True}


async def test_a_template_can_ask_for_the_bare_variant(client: httpx.AsyncClient) -> None:
    answer = await client.get("/choose", params={**SEND, "format": "text"})

    assert answer.text in {"a", "b", "c"}
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "query",
    ["experiment=autumn", "experiment=autumn&unit=u&unit=v", "experiment=autumn&unit=u&x=1",
     "experiment=autumn&unit=u&format=xml", "experiment=autumn&unit=%ff"],
)  # fmt: skip
async def test_a_bad_query_answers_422(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/choose?{query}")).status_code == 422


async def test_a_replay_whose_key_is_gone_is_signed_anew(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    first = await choose(client)
    rig.codec = TokenCodec({2: b"j" * 32}, 2)

    second = await choose(client)

    assert second == {**first, "replayed": True, "decision_id": second["decision_id"]}
    assert rig.codec.decode(second["decision_id"]) is not None


async def test_a_batch_answers_in_the_units_order(rig: HotRig, client: httpx.AsyncClient) -> None:
    units = [f"u-{i}" for i in range(1_234)]
    body = {"experiment": "autumn", "occasion": "o", "units": units}
    answer = (await client.post("/choose/batch", json=body)).json()
    single = await choose(client, unit="u-1000")

    assert [decision.unit for decision in recorded(rig)][:1_234] == units
    assert len(answer["decisions"]) == 1_234
    assert answer["payloads"] == {name: {"subject": name} for name in "abc"}
    assert {**answer["decisions"][1_000], "replayed": True} == {
        name: value for name, value in single.items() if name not in {"experiment", "payload"}
    }


async def test_a_unit_twice_in_a_batch_is_decided_once(client: httpx.AsyncClient) -> None:
    body = {"experiment": "autumn", "occasion": "o", "units": ["u", "v", "u"]}
    first, _, again = (await client.post("/choose/batch", json=body)).json()["decisions"]

    assert again == {**first, "replayed": True}


@pytest.mark.parametrize(
    "units",
    [[], ["u"] * 10_001, ["a\0"], [""], "u", [1]],
    ids=["none", "many", "NUL", "empty", "text", "number"],
)
async def test_bad_units_answer_422(client: httpx.AsyncClient, units: object) -> None:
    body = {"experiment": "autumn", "occasion": "o", "units": units}

    assert (await client.post("/choose/batch", json=body)).status_code == 422


async def test_a_replay_of_a_newer_variant_is_told_by_the_newer_table(rig: HotRig) -> None:
    stale = rig.tables.by_name["autumn"]
    variants = (*stale.experiment.variants, Variant("d", {"subject": "d"}))
    newer = rig.experiment(variants=variants, revision=2)
    rig.tables.hold(newer, 2, (0, 0, 0, 2**32))
    async with rig.client() as client:
        first = await choose(client)
        table = await rig.decisions.table_with(stale, 3)

    assert first["variant"] == "d"
    assert table.variant_ids[3] == "d"


async def test_a_caller_that_hangs_up_spoils_nobodys_batch(rig: HotRig) -> None:
    async with rig.client() as client:
        gone = asyncio.create_task(choose(client, unit="gone"))
        stays = asyncio.create_task(choose(client, unit="stays"))
        await asyncio.sleep(0)
        gone.cancel()
        answer = await stays

    assert answer["source"] == "policy"


async def test_many_sends_at_once_do_not_crowd_out_one_another_at_redis() -> None:
    rig = HotRig(replays=CrowdCounter())
    rig.experiment()
    units = [f"u-{i}" for i in range(1_500)]

    async with rig.client() as client:
        bodies = [{"experiment": "autumn", "occasion": f"o-{i}", "units": units} for i in range(9)]
        answers = await asyncio.gather(*(client.post("/choose/batch", json=b) for b in bodies))

    assert {answer.status_code for answer in answers} == {200}
    assert isinstance(rig.replays, CrowdCounter)
    assert 1 < rig.replays.waiting_max <= 4


async def test_equal_sends_of_one_turn_get_one_answer_without_redis_too(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    rig.replays.is_down = True
    body = {"experiment": "autumn", "occasion": "o", "units": ["u", "v", "u"]}
    first, _, again = (await client.post("/choose/batch", json=body)).json()["decisions"]

    assert first["source"] == "fallback"
    assert again == {**first, "replayed": True}
