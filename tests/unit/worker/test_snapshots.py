"""Snapshots are rows of evidence that changed, and there are fewer of older ones."""

from __future__ import annotations

import pytest

from service.domain.clock import DAY_MS, MINUTE_MS
from service.store.memory_sql import MemorySnapshotStore
from service.worker.snapshots import Snapshots
from tests.worker_rig import Rig


async def test_a_snapshot_has_a_row_per_variant_and_only_when_evidence_changed() -> None:
    rig, store = Rig(), MemorySnapshotStore()
    allocator = rig.allocator()
    experiment = await rig.create()
    await rig.send(experiment, 1, pulls=10, rewards=4)
    await allocator.refresh(experiment.number)
    snapshots = Snapshots(store, rig.ledger, allocator, rig.clock)
    for _ in range(2):
        await snapshots.turn()
        rig.clock.at_ms += MINUTE_MS

    rows = await store.rows(experiment.number, 0)
    assert [row.variant for row in rows] == [0, 1, 2, 3]
    assert (rows[1].pulls, rows[1].conversions, rows[1].value_micros) == (10, 4, 4_000_000)
    assert rows[1].effective_successes == 4.0
    assert sum(row.propensity for row in rows) == pytest.approx(1.0)

    await rig.send(experiment, 1, pulls=1, rewards=0)
    await allocator.refresh(experiment.number)
    await snapshots.turn()
    assert len(await store.rows(experiment.number, 0)) == 8


async def test_old_snapshots_are_thinned_to_hourly_ones() -> None:
    rig, store = Rig(), MemorySnapshotStore()
    allocator = rig.allocator()
    experiment = await rig.create()
    snapshots = Snapshots(store, rig.ledger, allocator, rig.clock)
    for _ in range(5):
        await rig.send(experiment, 0, pulls=1, rewards=0)
        await allocator.refresh(experiment.number)
        await snapshots.turn()
        rig.clock.at_ms += MINUTE_MS
    rig.clock.at_ms += 8 * DAY_MS
    await snapshots.turn()

    assert len(await store.rows(experiment.number, 0)) == 4
