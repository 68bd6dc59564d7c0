"""Every store of erasures wipes the unit from rows that stay, and lets no tenant see another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.access import AdminAct
from service.domain.clock import HOUR_MS
from service.domain.decision import Decision
from service.domain.erasure import Erasure
from service.errors import ErasureNotFoundError
from service.store.records import LedgerRow, OutboxPosition
from tests.sql_stores import (
    BACKENDS,
    START_MS,
    Stores,
    decision,
    memory_stores,
    opened,
    reward,
    sql_stores,
    url_of,
)

LATER_MS = START_MS + 1_000 * HOUR_MS


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "memory":
        yield memory_stores()
        return
    async with opened(url_of(request.param, request, tmp_path)) as database:
        yield sql_stores(database)


def erasure(number: int = 1, *, unit: int = 1, tenant: int = 1) -> Erasure:
    return Erasure(
        id=f"{number:032x}",
        tenant=tenant,
        unit=f"unit-{unit}",
        requested_at_ms=LATER_MS + number,
        requested_by="ada",
    )


async def request(stores: Stores, *erasures: Erasure) -> None:
    for each in erasures:
        act = AdminAct(
            tenant=each.tenant, at_ms=LATER_MS, actor="ada", action="erase", subject=each.id
        )
        await stores.erasures.request(each, act)


async def rows(stores: Stores) -> list[LedgerRow]:
    found, _ = await stores.ledger.rows(7, None, 100)
    return found


def telling(number: int, **fields: object) -> Decision:
    """Return a decision whose occasion and context tell its unit too."""
    given = {"occasion": f"mail to unit-{number}", "context": b'{"age":41}', **fields}
    return replace(decision(number), **given)


async def test_a_request_stands_with_its_act(stores: Stores) -> None:
    await request(stores, erasure(2), erasure(1), erasure(3, tenant=2))

    assert await stores.erasures.get(1, erasure(1).id) == erasure(1)
    assert [each.id for each in await stores.erasures.pending()] == [
        erasure(number).id for number in (1, 2, 3)
    ]
    assert [act.subject for act in await stores.acts.of_tenant(1, 9)] == [
        erasure(2).id,
        erasure(1).id,
    ]


async def test_another_tenants_request_looks_like_an_unknown_one(stores: Stores) -> None:
    await request(stores, erasure(3, tenant=2))

    with pytest.raises(ErasureNotFoundError) as of_another:
        await stores.erasures.get(1, erasure(3).id)
    with pytest.raises(ErasureNotFoundError) as unknown:
        await stores.erasures.get(1, erasure(4).id)
    assert str(of_another.value) == str(unknown.value)


async def test_erasing_wipes_what_tells_the_unit_and_nothing_else(stores: Stores) -> None:
    own, other = telling(1), telling(2)
    foreign = replace(telling(1), tenant=2, key=b"f" * 16, occasion="other shop")
    await stores.ledger.append([own, other, foreign], [reward(own), reward(other)])
    await request(stores, erasure())

    assert await stores.erasures.erase([erasure()]) == 1

    by_key = {row.decision.key: row for row in await rows(stores)}
    assert by_key[own.key].decision == replace(own, unit="", occasion="", context=None)
    assert by_key[own.key].counted
    assert by_key[own.key].rewards == (reward(own),)
    assert by_key[other.key].decision == other
    assert by_key[foreign.key].decision == foreign
    assert (await stores.erasures.get(1, erasure().id)).rows == 1


async def test_an_occasion_that_does_not_tell_the_unit_stays(stores: Stores) -> None:
    await stores.ledger.append([decision(1)], [])
    await request(stores, erasure())

    await stores.erasures.erase([erasure()])

    assert [(r.decision.unit, r.decision.occasion) for r in await rows(stores)] == [("", "spring")]


async def test_answers_kept_beside_the_first_one_are_wiped_too(stores: Stores) -> None:
    first = telling(1)
    beside = replace(first, variant=2)
    await stores.ledger.append([first, beside], [])
    await request(stores, erasure())

    assert await stores.erasures.erase([erasure()]) == 2

    assert [(row.decision.unit, row.decision.context) for row in await rows(stores)] == [
        ("", None),
        ("", None),
    ]


async def test_a_recount_finds_no_difference_after_an_erasure(stores: Stores) -> None:
    decisions = [telling(number % 3, key=bytes([number]) * 16) for number in range(1, 30)]
    await stores.ledger.append(decisions, [reward(each) for each in decisions])
    before = await stores.ledger.evidence(7)
    await request(stores, erasure())

    assert await stores.erasures.erase([erasure()]) == 10
    await stores.erasures.forget(erasure())

    assert await stores.ledger.recount(7) == []
    assert await stores.ledger.evidence(7) == before


async def test_a_repeated_answer_of_an_erased_decision_counts_for_nothing(stores: Stores) -> None:
    await stores.ledger.append([telling(1)], [reward(telling(1))])
    await request(stores, erasure())
    await stores.erasures.erase([erasure()])

    outcome = await stores.ledger.append([telling(1)], [reward(telling(1))])

    assert (outcome.decisions_new, outcome.conflicts) == (0, 0)
    assert [row.decision.unit for row in await rows(stores)] == [""]


async def test_what_is_decided_after_the_request_is_kept_by_later_passes(stores: Stores) -> None:
    old = telling(1)
    new = telling(1, key=b"n" * 16, occasion="autumn", decided_at_ms=LATER_MS + HOUR_MS)
    await stores.ledger.append([old, new], [])
    await request(stores, erasure())
    await stores.erasures.wait_for(erasure().id, ["one.seg"])
    seen = await stores.erasures.get(1, erasure().id)

    assert await stores.erasures.erase([seen]) == 1

    assert [row.decision.unit for row in await rows(stores)] == ["", "unit-1"]


async def test_the_first_pass_takes_what_a_clock_far_ahead_wrote(stores: Stores) -> None:
    await stores.ledger.append([telling(1, decided_at_ms=LATER_MS + HOUR_MS)], [])
    await request(stores, erasure())

    assert await stores.erasures.erase([erasure()]) == 1


async def test_one_pass_serves_many_requests(stores: Stores) -> None:
    await stores.ledger.append([decision(number) for number in range(10)], [])
    wanted = [erasure(number, unit=number) for number in range(5)]
    await request(stores, *wanted)

    assert await stores.erasures.erase(wanted) == 5

    left = {row.decision.unit for row in await rows(stores)} - {""}
    assert left == {f"unit-{number}" for number in range(5, 10)}


async def test_more_rows_than_fit_a_transaction_are_wiped(stores: Stores) -> None:
    numbers = range(2_500)
    many = [telling(1, key=number.to_bytes(16, "big")) for number in numbers]
    for start in range(0, len(many), 1_000):
        await stores.ledger.append(many[start : start + 1_000], [])
    await request(stores, erasure())

    assert await stores.erasures.erase([erasure()]) == 2_500

    assert (await stores.erasures.get(1, erasure().id)).rows == 2_500


async def test_forgetting_wipes_the_unit_and_event_ids_that_tell_it(stores: Stores) -> None:
    own, other = decision(1), decision(2)
    given = [
        replace(reward(own), event_id="order of unit-1"),
        replace(reward(own), event_id="unit-1 again"),
        replace(reward(own), event_id="order 7"),
        replace(reward(other), event_id="order of unit-1"),
    ]
    await stores.ledger.append([own, other], given)
    await request(stores, erasure())
    await stores.erasures.erase([erasure()])

    await stores.erasures.forget(erasure())

    ids = {row.decision.unit: [each.event_id for each in row.rewards] for row in await rows(stores)}
    assert len(set(ids[""])) == 3
    assert "order 7" in ids[""]
    assert not any("unit-1" in each for each in ids[""])
    assert ids["unit-2"] == ["order of unit-1"]
    assert (await stores.erasures.get(1, erasure().id)).unit == ""
    assert await stores.ledger.recount(7) == []


async def test_a_request_waits_for_segments_until_it_is_done(stores: Stores) -> None:
    await stores.ledger.append([decision(1)], [], OutboxPosition("here.seg", 9))
    await request(stores, erasure())

    await stores.erasures.wait_for(erasure().id, ["b.seg", "a.seg"])
    waiting = (await stores.erasures.pending())[0]
    assert await stores.erasures.scrub()
    await stores.erasures.finish(erasure().id, LATER_MS + 5)

    assert await stores.erasures.committed_segments() == {"here.seg"}
    assert waiting.segments == ("a.seg", "b.seg")
    assert await stores.erasures.pending() == []
    assert (await stores.erasures.get(1, erasure().id)).done_at_ms == LATER_MS + 5
