"""The promises about tallies of rewards and states of checks; all stores keep them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.quality import HourCounts, QualityState, Tally, TallyKey


class TallyStore(Protocol):
    """How many rewards came in each hour, by what became of them: statistics, not money."""

    async def add(self, tallies: Mapping[TallyKey, Tally]) -> None:
        """Add to what stands there; an error may mean that they were added or not."""
        ...

    async def rows(self, experiment: int, since_hour: int) -> dict[TallyKey, Tally]:
        """Return an experiment's tallies of an hour and later."""
        ...

    async def totals(self, since_hour: int) -> dict[int, int]:
        """Return how many rewards every experiment was sent in an hour and later."""
        ...

    async def expire(self, before_hour: int, count: int) -> int:
        """Delete the tallies of earlier hours, so many at most; return how many went."""
        ...


class QualityStates(Protocol):
    """What each check last said of each experiment."""

    async def save(self, states: Sequence[QualityState]) -> None:
        """Insert or replace states, by (experiment, check)."""
        ...

    async def of_experiment(self, experiment: int) -> list[QualityState]:
        """Return an experiment's states, in order of the check's name."""
        ...

    async def all(self) -> list[QualityState]:
        """Return every state, in order of (experiment, check)."""
        ...


class QualityEvidence(Protocol):
    """What checks read of the ledger."""

    async def hours(self, experiment: int, since_hour: int) -> list[HourCounts]:
        """Return the evidence of decisions of an hour and later, in order of (variant, hour)."""
        ...

    async def last_accepted_ms(self, experiment: int) -> int | None:
        """Return when the last reward that counts was received, or None.

        Only the last thousand rewards are looked through.
        """
        ...

    async def newest_reward(self) -> int:
        """Return the highest serial number of a reward, 0 without any."""
        ...

    async def tally_orphans(self, until: int, count: int) -> bool:
        """Tally rewards by whether their decision stands in the ledger, each reward once.

        How far this has come is committed together with the tallies. The first time of all it
        begins behind `until`: what came before anybody watched is not judged.

        Parameters
        ----------
        until
            The last serial number to look at: of a reward that has stood long enough for its
            decision to have come.
        count
            How many rewards at most.

        Returns
        -------
        bool
            Whether rewards up to `until` are left.
        """
        ...
