"""Every snapshot store keeps rows in order of time, and thins what is old to one an hour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS, MINUTE_MS
from service.store.ports import SnapshotStore
from service.store.records import Snapshot
from tests.sql_stores import BACKENDS, START_MS, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SnapshotStore]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend.stores.snapshots


def snapshot(minutes: int, *, variant: int = 0, experiment: int = 7) -> Snapshot:
    return Snapshot(
        experiment=experiment,
        variant=variant,
        at_ms=START_MS + minutes * MINUTE_MS,
        version=3,
        pulls=10,
        conversions=2,
        value_micros=2**80,
        effective_pulls=9.5,
        effective_successes=1.25,
        propensity=0.1,
    )


async def test_rows_come_in_order_of_time_and_variant(store: SnapshotStore) -> None:
    given = [snapshot(5), snapshot(0, variant=1), snapshot(0), snapshot(5, variant=1)]
    await store.add([*given, snapshot(5, experiment=8)])
    await store.add([])

    assert await store.rows(7, 0) == [given[2], given[1], given[0], given[3]]
    assert await store.rows(7, START_MS + 1) == [given[0], given[3]]
    assert await store.rows(9, 0) == []


async def test_a_snapshot_is_never_replaced(store: SnapshotStore) -> None:
    await store.add([snapshot(0)])

    await store.add([replace(snapshot(0), pulls=99), snapshot(1)])

    assert await store.rows(7, 0) == [snapshot(0), snapshot(1)]


async def test_thinning_keeps_the_first_of_every_hour_of_the_old_ones(
    store: SnapshotStore,
) -> None:
    minutes = [3, 4, 59, 61, 62, 119, 120, 121]
    await store.add([snapshot(m, variant=v) for m in minutes for v in (0, 1)])

    gone = await store.thin(START_MS + 2 * HOUR_MS)
    again = await store.thin(START_MS + 2 * HOUR_MS)

    kept = [snapshot(m, variant=v) for m in (3, 61, 120, 121) for v in (0, 1)]
    assert (gone, again) == (8, 0)
    assert await store.rows(7, 0) == kept
