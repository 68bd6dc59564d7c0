"""POST /choose, in process over memory stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.domain.decision import Decision
from service.domain.experiment import ExperimentState, Variant, VariantState
from service.domain.limits import BODY_BYTES_MAX
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


async def test_an_answer_has_the_fields_of_the_contract(client: httpx.AsyncClient) -> None:
    answer = await choose(client)

    assert list(answer) == [
        "decision_id",
        "experiment",
        "variant",
        "propensity",
        "source",
        "holdout",
        "replayed",
        "allocation_version",
        "payload",
    ]
    assert len(answer["decision_id"]) == 72
    assert (answer["experiment"], answer["source"]) == ("autumn", "policy")
    assert (answer["holdout"], answer["replayed"]) == (False, False)
    assert answer["payload"] == {"subject": answer["variant"]}
    assert answer["propensity"] == {"a": 0.5, "b": 0.25, "c": 0.25}[answer["variant"]]


async def test_an_answer_is_in_the_outbox_before_it_is_told(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    answer = await choose(client, context={"city": "Ulm"})
    (decision,) = recorded(rig)

    assert rig.codec.encode(decision) == answer["decision_id"]
    assert (decision.unit, decision.occasion) == ("u", "o")
    assert decision.context == b'{"city":"Ulm"}'


async def test_the_same_send_again_is_a_replay(rig: HotRig, client: httpx.AsyncClient) -> None:
    first = await choose(client)
    rig.clock.at_ms += 5_000
    rig.tables.hold(rig.tables.by_name["autumn"].experiment, 2, (0, 0, 2**32))
    second = await choose(client)

    assert second == {**first, "replayed": True}


async def test_a_replay_is_appended_too(rig: HotRig, client: httpx.AsyncClient) -> None:
    await choose(client)
    rig.clock.at_ms += 5_000
    await choose(client)
    first, second = recorded(rig)

    assert first == second


async def test_identical_choices_at_once_are_one_decision(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(choose(client) for _ in range(50)))

    assert len({answer["decision_id"] for answer in answers}) == 1
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 49


async def test_without_an_occasion_every_call_is_a_new_decision(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    bodies = [{"experiment": "autumn", "unit": "u"} for _ in range(2)]
    answers = [(await client.post("/choose", json=body)).json() for body in bodies]

    assert answers[0]["decision_id"] != answers[1]["decision_id"]
    assert all(decision.occasion.startswith("~") for decision in recorded(rig))
    assert rig.replays.generations == {}


async def test_without_redis_the_answer_is_a_fallback_with_its_true_propensity(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    expected = await choose(client)
    rig.replays.is_down = True
    answer = await choose(client)

    assert (answer["source"], answer["replayed"]) == ("fallback", False)
    assert answer["variant"] == expected["variant"]
    assert answer["propensity"] == expected["propensity"]
    assert recorded(rig)[-1].is_counted


async def test_a_full_outbox_writes_the_choice_to_the_ledger(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    rig.outbox.is_full = True
    answer = await choose(client)
    rows, _ = await rig.ledger.rows(1, None, 10)

    assert [rig.codec.encode(row.decision) for row in rows] == [answer["decision_id"]]


async def test_with_neither_outbox_nor_ledger_a_choice_is_503(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    rig.outbox.is_full = rig.ledger.is_down = True
    answer = await client.post("/choose", json=SEND)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "/problems/outbox-unavailable"


async def test_a_draft_answers_409(rig: HotRig, client: httpx.AsyncClient) -> None:
    rig.experiment(state=ExperimentState.DRAFT)
    answer = await client.post("/choose", json=SEND)

    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("state", [ExperimentState.PAUSED, ExperimentState.STOPPED])
async def test_an_inactive_experiment_answers_the_control_uncounted(
    rig: HotRig, client: httpx.AsyncClient, state: ExperimentState
) -> None:
    rig.experiment(state=state)
    answer = await choose(client)

    assert (answer["variant"], answer["source"], answer["propensity"]) == ("a", "inactive", 1.0)
    assert not recorded(rig)[0].is_counted


async def test_an_inactive_answer_stays_inactive_without_redis(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    rig.experiment(state=ExperimentState.PAUSED)
    rig.replays.is_down = True

    assert (await choose(client))["source"] == "inactive"


async def test_a_forced_choice_is_never_counted_and_takes_no_occasion(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    forced = await choose(client, force="c")
    chosen = await choose(client)

    assert (forced["variant"], forced["source"], forced["propensity"]) == ("c", "forced", 1.0)
    assert not recorded(rig)[0].is_counted
    assert chosen["replayed"] is False


async def test_eligibility_is_kept_and_in_the_propensity(client: httpx.AsyncClient) -> None:
    answer = await choose(client, eligible=["b", "c"])

    assert answer["variant"] in {"b", "c"}
    assert answer["propensity"] == 0.5


async def test_what_a_choice_was_made_among_is_recorded(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    await choose(client, eligible=["c", "b"])
    await choose(client, unit="v")
    await choose(client, unit="w", eligible=["c"], force="c")

    assert [decision.eligible for decision in recorded(rig)] == [(1, 2), None, None]


async def test_no_active_eligible_variant_answers_409(
    rig: HotRig, client: httpx.AsyncClient
) -> None:
    variants = (
        Variant("a", is_control=True),
        Variant("b", state=VariantState.PAUSED),
        Variant("c"),
    )
    rig.experiment(variants=variants)
    answer = await client.post("/choose", json={**SEND, "eligible": ["b"]})

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/no-eligible-variant"


BAD_BODIES = {
    "no unit": {"experiment": "autumn"},
    "empty unit": {**SEND, "unit": ""},
    "long unit": {**SEND, "unit": "u" * 257},
    "unit of a wrong type": {**SEND, "unit": 7},
    "unit with NUL": {**SEND, "unit": "a\0b"},
    "occasion with NUL": {**SEND, "occasion": "a\0b"},
    "the service's own occasion": {**SEND, "occasion": "~x"},
    "unknown field": {**SEND, "secret-field": 1},
    "no eligible": {**SEND, "eligible": []},
    "context no object": {**SEND, "context": [1]},
    "context too large": {**SEND, "context": {"x": "y" * 5_000}},
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_input_is_a_short_problem_that_repeats_nothing(
    rig: HotRig, client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.post("/choose", json=BAD_BODIES[name])

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 422
    assert len(answer.content) < 500
    assert "secret-field" not in answer.text
    assert rig.outbox.records == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"unit":"\\ud800"}', b"[" * 100_000, b'{"unit": NaN}', b'"text"'],
)
async def test_what_is_no_json_answers_422(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(
        "/choose", content=body[:60_000], headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**SEND, "experiment": "winter"}, 404),
        ({**SEND, "eligible": ["d"]}, 404),
        ({**SEND, "force": "d"}, 404),
    ],
)
async def test_unknown_ids_answer_404(
    client: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    assert (await client.post("/choose", json=body)).status_code == status


async def test_another_media_type_answers_415(client: httpx.AsyncClient) -> None:
    assert (await client.post("/choose", data=SEND)).status_code == 415


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_large_body_answers_413(
    client: httpx.AsyncClient,
    is_streamed: bool,
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1_024

    content = parts() if is_streamed else b" " * (BODY_BYTES_MAX + 1)
    answer = await client.post(
        "/choose", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/choose/batch", "/reward", "/reward/batch"])
async def test_another_method_answers_405_and_names_the_right_one(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
