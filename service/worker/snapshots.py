"""What reports draw over time: a row per variant while evidence changes, thinned with age."""

from __future__ import annotations

from collections.abc import Iterator

from service.allocations.allocator import Allocator
from service.allocations.cache import HeldEvidence, Totals
from service.domain.allocation import Publication
from service.domain.clock import DAY_MS, HOUR_MS, Clock
from service.store.ports import Ledger, SnapshotStore
from service.store.records import Snapshot

THIN_AFTER_MS = 7 * DAY_MS
THIN_EVERY_MS = HOUR_MS
ROWS_PER_INSERT = 1_000


class Snapshots:
    """Writes a snapshot of every experiment whose evidence changed since its last one."""

    def __init__(
        self, store: SnapshotStore, ledger: Ledger, allocator: Allocator, clock: Clock
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._allocator = allocator
        self._clock = clock
        self._written: dict[int, int] = {}
        self._thinned_ms = 0

    async def turn(self) -> None:
        """Write what is due; thin what is old."""
        now_ms = self._clock.now_ms()
        rows: list[Snapshot] = []
        taken: dict[int, int] = {}
        for number, revision in (await self._ledger.evidence_revisions()).items():
            publication = self._allocator.last(number)
            if publication is not None and revision > self._written.get(number, 0):
                held = await self._allocator.evidence.current(number)
                rows.extend(_rows(publication, held, now_ms))
                taken[number] = held.revision
        for start in range(0, len(rows), ROWS_PER_INSERT):
            await self._store.add(rows[start : start + ROWS_PER_INSERT])
        self._written.update(taken)
        await self._thin(now_ms)

    async def _thin(self, now_ms: int) -> None:
        if now_ms - self._thinned_ms >= THIN_EVERY_MS:
            await self._store.thin(now_ms - THIN_AFTER_MS)
            self._thinned_ms = now_ms


def _rows(publication: Publication, held: HeldEvidence, at_ms: int) -> Iterator[Snapshot]:
    allocation, evidence = publication.allocation, publication.evidence
    for variant, propensity in enumerate(allocation.propensities):
        totals = held.totals.get(variant, Totals())
        yield Snapshot(
            experiment=allocation.experiment,
            variant=variant,
            at_ms=at_ms,
            version=allocation.version,
            pulls=totals.pulls,
            conversions=totals.conversions,
            value_micros=totals.value_micros,
            effective_pulls=evidence.pulls[variant],
            effective_successes=evidence.successes[variant],
            propensity=propensity,
        )
