"""The promise about how each allocation's traffic was split; all stores keep it alike."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from service.domain.allocation import Allocation
from service.domain.split import SplitChange


class SplitStore(Protocol):
    """What the ledger counted by allocation, and those allocations."""

    async def revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        ...

    async def changes(self, experiment: int, above_revision: int = 0) -> SplitChange:
        """Return the counts changed above an evidence revision, whole, and the newest one.

        Parameters
        ----------
        experiment
            Its number.
        above_revision
            0 for all of them.

        Returns
        -------
        SplitChange
            Counts of decisions outside the holdout that the policy made: what `split_pulls` of
            all the ledger's first rows returns. In order of key.
        """
        ...

    async def allocations(
        self, experiment: int, versions: Collection[int]
    ) -> dict[int, Allocation]:
        """Return allocations by version; unknown ones are left out."""
        ...
