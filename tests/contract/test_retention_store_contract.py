"""Every store of the retention wipes old decisions in batches, and remembers how far it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS
from service.store.privacy_ports import Expired
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


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "memory":
        yield memory_stores()
        return
    async with opened(url_of(request.param, request, tmp_path)) as database:
        yield sql_stores(database)


async def units(stores: Stores) -> list[str]:
    rows, _ = await stores.ledger.rows(7, None, 100)
    return [row.decision.unit for row in rows]


async def test_old_decisions_are_wiped_and_younger_ones_kept(stores: Stores) -> None:
    given = [replace(decision(number, hours=number), context=b'{"age":41}') for number in range(6)]
    await stores.ledger.append(given, [reward(each) for each in given])
    before_ms = given[3].decided_at_ms

    expired = await stores.retention.expire(0, before_ms, 100)

    rows, _ = await stores.ledger.rows(7, None, 100)
    assert expired == Expired(3, before_ms)
    assert [row.decision for row in rows[:3]] == [
        replace(each, unit="", context=None) for each in given[:3]
    ]
    assert [row.decision for row in rows[3:]] == given[3:]
    assert await stores.retention.watermark_ms() == before_ms
    assert await stores.ledger.recount(7) == []


async def test_batches_come_to_an_end_also_where_many_share_a_time(stores: Stores) -> None:
    await stores.ledger.append(
        [replace(decision(number), decided_at_ms=START_MS) for number in range(10)], []
    )
    since_ms, steps = 0, []
    before_ms = START_MS + 1

    while since_ms < before_ms:
        step = await stores.retention.expire(since_ms, before_ms, 3)
        since_ms = step.until_ms
        steps.append(step.rows)

    assert steps == [3, 3, 3, 1]
    assert await units(stores) == [""] * 10
    assert await stores.retention.watermark_ms() == before_ms


async def test_what_came_late_is_wiped_behind_the_watermark(stores: Stores) -> None:
    await stores.retention.expire(0, START_MS + 9 * HOUR_MS, 100)
    await stores.ledger.append([decision(1)], [])

    passed_over = await stores.retention.expire(START_MS + HOUR_MS, START_MS + 9 * HOUR_MS, 100)
    looked_back = await stores.retention.expire(START_MS, START_MS + 9 * HOUR_MS, 100)

    assert (passed_over.rows, looked_back.rows) == (0, 1)
    assert await units(stores) == [""]


async def test_the_watermark_never_moves_back(stores: Stores) -> None:
    await stores.retention.expire(0, START_MS + HOUR_MS, 100)

    await stores.retention.expire(0, START_MS, 100)

    assert await stores.retention.watermark_ms() == START_MS + HOUR_MS


async def test_answers_kept_beside_the_first_one_expire_too(stores: Stores) -> None:
    first = decision(1)
    await stores.ledger.append([first, replace(first, variant=2)], [])

    await stores.retention.expire(0, START_MS + HOUR_MS, 100)

    assert await units(stores) == ["", ""]


async def test_event_ids_that_tell_a_unit_expire_with_it(stores: Stores) -> None:
    own = decision(1)
    given = [replace(reward(own), event_id=each) for each in ("of unit-1", "order 7")]
    await stores.ledger.append([own], given)

    await stores.retention.expire(0, START_MS + HOUR_MS, 100)

    rows, _ = await stores.ledger.rows(7, None, 100)
    ids = [each.event_id for each in rows[0].rewards]
    assert "unit-1" not in ids[0]
    assert ids[1] == "order 7"
