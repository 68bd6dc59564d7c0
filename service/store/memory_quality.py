"""Tallies, states of checks and what they read, in memory: for tests, and to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.domain.clock import HOUR_MS
from service.domain.quality import (
    HourCounts,
    Outcome,
    QualityState,
    Tally,
    TallyKey,
    joined,
)
from service.domain.reward import RewardStatus
from service.store.memory_ledger import MemoryLedger


class MemoryTallyStore:
    """See `service.store.quality_ports.TallyStore`."""

    def __init__(self) -> None:
        self._tallies: dict[TallyKey, Tally] = {}

    async def add(self, tallies: Mapping[TallyKey, Tally]) -> None:
        """Add to what stands there."""
        for key, tally in tallies.items():
            self._tallies[key] = joined(self._tallies.get(key, Tally()), tally)

    async def rows(self, experiment: int, since_hour: int) -> dict[TallyKey, Tally]:
        """Return an experiment's tallies of an hour and later."""
        return {
            key: joined(tally, Tally())
            for key, tally in self._tallies.items()
            if key.experiment == experiment and key.hour >= since_hour
        }

    async def totals(self, since_hour: int) -> dict[int, int]:
        """Return how many rewards every experiment was sent in an hour and later."""
        totals: dict[int, int] = {}
        for key, tally in self._tallies.items():
            if key.hour >= since_hour:
                totals[key.experiment] = totals.get(key.experiment, 0) + tally.count
        return totals

    async def expire(self, before_hour: int, count: int) -> int:
        """Delete the tallies of earlier hours, so many at most; return how many went."""
        old = sorted((key.hour, key) for key in self._tallies if key.hour < before_hour)[:count]
        for _, key in old:
            del self._tallies[key]
        return len(old)


class MemoryQualityStates:
    """See `service.store.quality_ports.QualityStates`."""

    def __init__(self) -> None:
        self._states: dict[tuple[int, str], QualityState] = {}

    async def save(self, states: Sequence[QualityState]) -> None:
        """Insert or replace states, by (experiment, check)."""
        self._states.update({(each.experiment, each.check): each for each in states})

    async def of_experiment(self, experiment: int) -> list[QualityState]:
        """Return an experiment's states, in order of the check's name."""
        return [state for state in await self.all() if state.experiment == experiment]

    async def all(self) -> list[QualityState]:
        """Return every state, in order of (experiment, check)."""
        return [self._states[key] for key in sorted(self._states)]


class MemoryQualityEvidence:
    """See `service.store.quality_ports.QualityEvidence`."""

    def __init__(self, ledger: MemoryLedger, tallies: MemoryTallyStore) -> None:
        self._ledger = ledger
        self._tallies = tallies
        self._mark: int | None = None

    async def hours(self, experiment: int, since_hour: int) -> list[HourCounts]:
        """Return the evidence of decisions of an hour and later, in order of (variant, hour)."""
        change = await self._ledger.evidence(experiment)
        return [
            HourCounts(
                bucket.key.variant,
                bucket.key.hour,
                bucket.pulls,
                bucket.conversions,
                bucket.value_micros,
                bucket.value_micros_squared,
                bucket.delays,
            )
            for bucket in change.buckets
            if bucket.key.hour >= since_hour
        ]

    async def last_accepted_ms(self, experiment: int) -> int | None:
        """Return when the last reward that counts was received, or None."""
        recent = [r for r in self._ledger.recorded_rewards() if r.experiment == experiment][-1_000:]
        accepted = [r.received_at_ms for r in recent if r.status == RewardStatus.accepted]
        return max(accepted, default=None)

    async def newest_reward(self) -> int:
        """Return the highest serial number of a reward, 0 without any."""
        return len(self._ledger.recorded_rewards())

    async def tally_orphans(self, until: int, count: int) -> bool:
        """Tally rewards by whether their decision stands in the ledger, each reward once."""
        if self._mark is None:
            self._mark = until
            return False
        reached = min(until, self._mark + count)
        for reward in self._ledger.recorded_rewards()[self._mark : reached]:
            is_found = bool(await self._ledger.first_decisions([reward.key]))
            outcome = Outcome.found if is_found else Outcome.orphan
            key = TallyKey(reward.experiment, reward.received_at_ms // HOUR_MS, outcome)
            await self._tallies.add({key: Tally(1)})
        self._mark = max(self._mark, reached)
        return reached < until
