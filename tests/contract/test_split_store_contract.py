"""Every ledger counts how each allocation's traffic was split, exactly as its rows say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.decision import Source
from service.domain.split import SplitKey, split_pulls
from service.errors import LedgerUnavailableError
from service.store.sql_database import SqlDatabase
from service.store.sql_ledger import SqlLedger
from service.store.sql_split import SqlSplitStore
from tests.sql_stores import (
    BACKENDS,
    Backend,
    allocation,
    decision,
    experiment,
    opened,
    opened_backend,
    url_of,
)

HOUR = 500_000


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


async def counted(backend: Backend, above_revision: int = 0) -> dict[SplitKey, int]:
    return (await backend.stores.splits.changes(7, above_revision)).pulls


async def test_pulls_are_counted_by_hour_version_eligible_variants_and_variant(
    backend: Backend,
) -> None:
    plain = [replace(decision(unit), holdout=False, eligible=None) for unit in range(6)]
    sent = [
        plain[0],
        plain[1],
        replace(plain[2], version=13),
        replace(plain[3], eligible=(0, 2)),
        replace(plain[4], variant=1),
        replace(plain[5], decided_at_ms=plain[5].decided_at_ms + 3_600_000),
    ]

    await backend.stores.ledger.append(sent, [])

    assert await counted(backend) == {
        SplitKey(7, HOUR, 12, "", 0): 2,
        SplitKey(7, HOUR, 12, "", 1): 1,
        SplitKey(7, HOUR, 12, "[0,2]", 0): 1,
        SplitKey(7, HOUR, 13, "", 0): 1,
        SplitKey(7, HOUR + 1, 12, "", 0): 1,
    }


async def test_what_the_policy_had_no_say_in_is_not_counted(backend: Backend) -> None:
    sent = [
        replace(decision(1), holdout=True),
        replace(decision(2), holdout=False, source=int(Source.forced)),
        replace(decision(3), holdout=False, source=int(Source.inactive)),
        replace(decision(4), holdout=False, source=int(Source.fallback), eligible=None),
    ]

    await backend.stores.ledger.append(sent, [])

    assert await counted(backend) == {SplitKey(7, HOUR, 12, "", 0): 1}


async def test_counts_that_changed_come_whole_and_others_not_at_all(backend: Backend) -> None:
    first, second, third = (
        replace(decision(unit, variant=unit % 2), holdout=False, eligible=None)
        for unit in range(1, 4)
    )
    await backend.stores.ledger.append([first, second], [])
    seen = await backend.stores.splits.changes(7)

    await backend.stores.ledger.append([first, third, replace(second, variant=2)], [])

    newer = await backend.stores.splits.changes(7, seen.revision)
    assert newer.pulls == {SplitKey(7, HOUR, 12, "", 1): 2}
    assert (await backend.stores.splits.revisions())[7] == newer.revision > seen.revision
    assert (await backend.stores.splits.changes(7, newer.revision)).pulls == {}


async def test_counts_are_those_of_the_rows_when_eight_senders_race(backend: Backend) -> None:
    sent = [decision(unit, variant=unit % 3, hours=unit % 2) for unit in range(60)]
    ledgers = [backend.stores.ledger, backend.twin.ledger] * 4

    await asyncio.gather(*(x.append(sent[i * 5 :], []) for i, x in enumerate(ledgers)))

    assert await counted(backend) == split_pulls(sent)
    assert await backend.stores.ledger.recount(7) == []


async def test_a_rolled_back_ledger_shows_its_counts_anew_under_renewed_revisions(
    backend: Backend,
) -> None:
    await backend.stores.ledger.append([replace(decision(1), holdout=False)], [])
    seen = await backend.stores.splits.changes(7)

    await backend.stores.ledger.renew_revisions(2**40, [7])

    renewed = await backend.stores.splits.changes(7, seen.revision)
    assert renewed.revision == seen.revision + 2**40
    assert (await backend.stores.splits.changes(7)).pulls == seen.pulls


async def test_allocations_come_by_version_and_unknown_ones_are_left_out(backend: Backend) -> None:
    created = await backend.stores.experiments.create(experiment(), "test")
    stored = {version: allocation(created, version) for version in (1, 2, 3)}
    for each in stored.values():
        await backend.stores.allocations.insert(each)

    found = await backend.stores.splits.allocations(created.number, [3, 1, 99])

    assert found == {1: stored[1], 3: stored[3]}


async def test_all_counts_of_a_long_life_may_take_longer_than_those_that_changed(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with opened(url) as database:
        await SqlLedger(database).append([decision(1)], [])
    hasty = SqlDatabase(url, timeout_seconds=1e-6)  # Nothing is done in so short a time.

    whole = await SqlSplitStore(hasty).changes(7)
    with pytest.raises(LedgerUnavailableError):
        await SqlSplitStore(hasty).changes(7, 1)
    await hasty.dispose()

    assert whole.revision == 1
    assert sum(whole.pulls.values()) == 1
