"""Tally what became of the rewards that came, in memory, and add it to SQL every few seconds."""

from __future__ import annotations

from service.domain.clock import HOUR_MS, Clock
from service.domain.quality import NO_EXPERIMENT, Outcome, Tally, TallyKey, joined
from service.domain.reward import Reward, RewardStatus
from service.errors import (
    DecisionNotFoundError,
    InvalidInputError,
    LedgerUnavailableError,
    ServiceError,
)
from service.store.quality_ports import TallyStore

# While SQL is away, so many kinds are counted on; a thousand experiments have this many in 2 hours.
TALLIES_MAX = 10_000
_OUTCOMES = {status: Outcome(status.name) for status in RewardStatus}


class Tallies:
    """Counts for the watch over data quality; what a killed process had not added yet is lost."""

    def __init__(self, store: TallyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[TallyKey, Tally] = {}

    def recorded(self, reward: Reward, status: RewardStatus) -> None:
        """Count a reward that was taken."""
        tally = self._of(reward.experiment, _OUTCOMES[status])
        if status is not RewardStatus.accepted or not tally.count:
            tally.count += 1
            tally.largest_micros = tally.smallest_micros = reward.value_micros
            tally.lag_ms = max(0, reward.received_at_ms - reward.occurred_at_ms)
            return
        tally.count += 1
        tally.largest_micros = max(tally.largest_micros, reward.value_micros)
        tally.smallest_micros = min(tally.smallest_micros, reward.value_micros)
        tally.lag_ms = max(tally.lag_ms, reward.received_at_ms - reward.occurred_at_ms)

    def refused(self, error: ServiceError, experiment: int = NO_EXPERIMENT) -> None:
        """Count a reward that was not taken, if that was the caller's fault."""
        if isinstance(error, DecisionNotFoundError):
            self._of(NO_EXPERIMENT, Outcome.unknown).count += 1
        elif isinstance(error, InvalidInputError):
            self._of(experiment, Outcome.invalid).count += 1

    def _of(self, experiment: int, outcome: Outcome) -> Tally:
        key = TallyKey(experiment, self._clock.now_ms() // HOUR_MS, outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = Tally()
            if len(self._tallies) < TALLIES_MAX:  # Beyond that it is counted for nobody.
                self._tallies[key] = tally
        return tally

    async def flush(self) -> None:
        """Add to SQL what was counted; what SQL does not take now is counted on."""
        counted, self._tallies = self._tallies, {}
        try:
            await self._store.add(counted)
        except LedgerUnavailableError:
            # If it was committed all the same, it counts twice, and all outcomes alike.
            for key, tally in self._tallies.items():
                counted[key] = joined(counted.get(key, Tally()), tally)
            self._tallies = counted
            raise
