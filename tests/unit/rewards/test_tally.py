"""Rewards are tallied by what became of them, and no tally is lost while SQL is away."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS
from service.domain.quality import NO_EXPERIMENT, Outcome, Tally, TallyKey
from service.domain.reward import RewardStatus
from service.errors import (
    DecisionNotFoundError,
    InvalidInputError,
    LedgerUnavailableError,
    WindowClosedError,
)
from service.rewards.tally import Tallies
from service.store.memory_quality import MemoryTallyStore
from tests.fakes import FrozenClock
from tests.sql_stores import decision, reward

REWARD = reward(decision(1))


class FailingTallyStore(MemoryTallyStore):
    """A store that can be down."""

    is_down = False

    async def add(self, tallies: Mapping[TallyKey, Tally]) -> None:
        """Add, unless it is down."""
        if self.is_down:
            raise LedgerUnavailableError("SQL is down")
        await super().add(tallies)


async def test_what_is_taken_and_what_is_refused_is_tallied_by_the_hour() -> None:
    store, clock = MemoryTallyStore(), FrozenClock()
    tallies = Tallies(store, clock)
    for micros in (5, -7, 9):
        tallies.recorded(replace(REWARD, value_micros=micros), RewardStatus.accepted)
    tallies.recorded(REWARD, RewardStatus.duplicate)
    tallies.refused(InvalidInputError("no"), 7)
    tallies.refused(DecisionNotFoundError("no"), 7)
    tallies.refused(WindowClosedError("counted as late already"), 7)
    await tallies.flush()
    await tallies.flush()

    hour = clock.now_ms() // HOUR_MS
    own = await store.rows(7, 0)
    assert own.pop(TallyKey(7, hour, Outcome.accepted)) == Tally(3, 9, -7, 1_000)
    assert {key.outcome: tally.count for key, tally in own.items()} == {
        Outcome.duplicate: 1,
        Outcome.invalid: 1,
    }
    assert list(await store.rows(NO_EXPERIMENT, 0)) == [
        TallyKey(NO_EXPERIMENT, hour, Outcome.unknown)
    ]


async def test_what_sql_does_not_take_is_counted_on() -> None:
    store, clock = FailingTallyStore(), FrozenClock()
    tallies = Tallies(store, clock)
    store.is_down = True
    for _ in range(2):
        tallies.recorded(REWARD, RewardStatus.late)
        with pytest.raises(LedgerUnavailableError):
            await tallies.flush()
    store.is_down = False
    await tallies.flush()

    assert [tally.count for tally in (await store.rows(7, 0)).values()] == [2]
