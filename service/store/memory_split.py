"""How each allocation's traffic was split, in memory: the reference of the one in SQL."""

from __future__ import annotations

from collections.abc import Collection

from service.domain.allocation import Allocation
from service.domain.split import SplitChange
from service.store.memory_ledger import MemoryLedger
from service.store.ports import AllocationStore


class MemorySplitStore:
    """See `service.store.split_ports.SplitStore`."""

    def __init__(self, ledger: MemoryLedger, allocations: AllocationStore) -> None:
        self._ledger = ledger
        self._allocations = allocations

    async def revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        return await self._ledger.evidence_revisions()

    async def changes(self, experiment: int, above_revision: int = 0) -> SplitChange:
        """Return the counts changed above an evidence revision, whole, and the newest one."""
        return self._ledger.split_changes(experiment, above_revision)

    async def allocations(
        self, experiment: int, versions: Collection[int]
    ) -> dict[int, Allocation]:
        """Return allocations by version; unknown ones are left out."""
        found = {version: await self._allocations.get(experiment, version) for version in versions}
        return {version: each for version, each in found.items() if each is not None}
