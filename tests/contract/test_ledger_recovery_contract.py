"""Every ledger tells by which state it is that it went back, and takes again what it lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.errors import LedgerWentBackError, PositionMovedError
from service.store.ports import Ledger
from service.store.records import OutboxPosition
from tests.sql_stores import BACKENDS, decision, opened_backend, reward, url_of


@pytest.fixture(params=BACKENDS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend.stores.ledger


async def pulls(ledger: Ledger) -> int:
    return sum(bucket.pulls for bucket in (await ledger.evidence(7)).buckets)


@pytest.mark.parametrize("start", [0, 99, 101])
async def test_an_append_from_another_position_is_refused_whole(ledger: Ledger, start: int) -> None:
    await ledger.append([decision(1)], [], OutboxPosition("a", 100))

    with pytest.raises(PositionMovedError):
        await ledger.append([decision(2)], [], OutboxPosition("a", 200, start))

    assert await ledger.position("a") == 100
    assert await pulls(ledger) == 1


async def test_an_append_goes_on_from_where_the_last_one_ended(ledger: Ledger) -> None:
    await ledger.append([decision(1)], [], OutboxPosition("a", 100, 0))
    await ledger.append([], [], OutboxPosition("a", 150, 100))
    await ledger.append([], [reward(decision(1))], OutboxPosition("a", 200, 150))

    assert await ledger.position("a") == 200


async def test_an_append_whose_witness_stands_is_taken(ledger: Ledger) -> None:
    await ledger.append([decision(1)], [reward(decision(1))])

    witness = reward(decision(1))
    await ledger.append([decision(2)], [], OutboxPosition("a", 100, 0, (witness,)))

    assert await ledger.position("a") == 100


@pytest.mark.parametrize("field", ["key", "event_id", "received_at_ms"])
async def test_an_append_whose_witness_is_gone_is_refused_whole(ledger: Ledger, field: str) -> None:
    standing = reward(decision(1))
    await ledger.append([decision(1)], [standing])
    other = {"key": b"k" * 16, "event_id": "x", "received_at_ms": standing.received_at_ms + 1}
    gone = replace(standing, **{field: other[field]})
    position = OutboxPosition("a", 100, 0, (standing, gone))

    with pytest.raises(LedgerWentBackError):
        await ledger.append([decision(2)], [reward(decision(2))], position)

    assert await ledger.position("a") == 0
    assert await pulls(ledger) == 1


async def test_positions_of_many_segments_come_at_once(ledger: Ledger) -> None:
    for name, offset in (("a", 100), ("b", 200), ("c", 300)):
        await ledger.append([], [], OutboxPosition(name, offset))

    assert await ledger.positions(["a", "c", "unknown"]) == {"a": 100, "c": 300}
    assert await ledger.positions([]) == {}


async def test_the_first_decision_of_a_key_is_told_whatever_came_later(ledger: Ledger) -> None:
    first = decision(1)
    later = replace(first, variant=1, propensity=0.75)
    await ledger.append([first, decision(2)], [])

    outcome = await ledger.append([later, decision(2), decision(3)], [])

    assert outcome.differing == {first.key}
    assert await ledger.first_decisions([first.key, b"unknown".ljust(16)]) == [first]


async def test_renewed_revisions_keep_the_evidence_and_go_on_from_there(ledger: Ledger) -> None:
    await ledger.append([decision(1), decision(2, experiment=8)], [])
    await ledger.renew_revisions(2**40, [8, 9])
    await ledger.append([decision(3)], [])

    assert await ledger.evidence_revisions() == {7: 2**40 + 2, 8: 2**40 + 1, 9: 2**40}
    assert (await ledger.evidence(7, 2**40 + 1)).revision == 2**40 + 2
    assert len((await ledger.evidence(7, 2**40 + 1)).buckets) == 1
    assert await ledger.recount(7) == []


async def test_the_highest_version_that_decisions_name_is_told(ledger: Ledger) -> None:
    named = [replace(decision(unit), version=20 - unit) for unit in range(5)]
    await ledger.append([*named, replace(decision(9, experiment=8), version=99)], [])

    assert await ledger.named_version(7) == 20
    assert await ledger.named_version(9) == 0
