"""What the checks are told of an experiment: its evidence and tallies of four weeks, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from service.bandits.hours import Grid, Hour, edges_of, grid_of
from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.evidence import DELAY_EDGES_MS
from service.domain.experiment import Experiment
from service.domain.quality import HourCounts, Outcome, Tally
from service.domain.reward import MICROS
from service.store.quality_ports import QualityEvidence, TallyStore

EDGES = edges_of([edge / HOUR_MS for edge in DELAY_EDGES_MS])  # Of delays, in hours.
HISTORY_HOURS = 28 * DAY_MS // HOUR_MS
# Reports that come late make the newest hours look poor: so much of them is waited for.
LAG_SHARE = 0.9
LAG_HOURS_MAX = 72.0


class Past(Struct, frozen=True):
    """An experiment's evidence by decision hour, and its rewards by hour of arrival."""

    now_ms: int
    grid: Grid
    hours: Mapping[int, Mapping[Outcome, Tally]]  # Only those in which rewards came.
    last_accepted_ms: int | None

    @property
    def now(self) -> float:
        """The time in hours since the epoch."""
        return self.now_ms / HOUR_MS

    @property
    def hour(self) -> int:
        """The hour of now."""
        return self.now_ms // HOUR_MS

    def count(self, hour: int, outcomes: Collection[Outcome]) -> int:
        """Return how many rewards of an hour had one of these outcomes."""
        of_hour = self.hours.get(hour, {})
        return sum(of_hour[outcome].count for outcome in outcomes if outcome in of_hour)

    def accepted(self) -> dict[int, Tally]:
        """Return the tallies of the rewards that count, by hour."""
        return {
            hour: tallies[Outcome.accepted]
            for hour, tallies in self.hours.items()
            if Outcome.accepted in tallies
        }

    def lag_hours(self) -> float:
        """Return how long after the event most rewards are reported, by their slowest each hour."""
        accepted = self.accepted().values()
        left = LAG_SHARE * sum(tally.count for tally in accepted)
        for tally in sorted(accepted, key=lambda each: each.lag_ms):
            left -= tally.count
            if left <= 0:
                return min(LAG_HOURS_MAX, tally.lag_ms / HOUR_MS)
        return 0.0


class PastReader:
    """Reads an experiment's past once for all checks that judge it at the same time."""

    def __init__(self, evidence: QualityEvidence, tallies: TallyStore) -> None:
        self._evidence = evidence
        self._tallies = tallies
        self._asked: tuple[int, int] | None = None
        self._read: Past | None = None

    async def past(self, experiment: Experiment, now_ms: int) -> Past:
        """Return what is known of an experiment."""
        asked = (experiment.number, now_ms)
        if self._read is None or asked != self._asked:
            self._read = await self._past(experiment.number, now_ms)
            self._asked = asked
        return self._read

    async def _past(self, number: int, now_ms: int) -> Past:
        end = now_ms // HOUR_MS + 1
        start = end - HISTORY_HOURS
        rows = await self._evidence.hours(number, start)
        hours: dict[int, dict[Outcome, Tally]] = {}
        for key, tally in (await self._tallies.rows(number, start)).items():
            hours.setdefault(key.hour, {})[key.outcome] = tally
        return Past(
            now_ms=now_ms,
            # Thousands of rows: beside the event loop, which has others to commit.
            grid=await asyncio.to_thread(_grid, rows, start, end),
            hours=hours,
            last_accepted_ms=await self._evidence.last_accepted_ms(number),
        )


def _grid(rows: Sequence[HourCounts], start: int, end: int) -> Grid:
    return grid_of([_hour(row) for row in rows], start, end, len(DELAY_EDGES_MS) + 1)


def _hour(row: HourCounts) -> Hour:
    return Hour(
        row.variant,
        row.hour,
        row.pulls,
        row.conversions,
        row.value_micros / MICROS,
        row.value_micros_squared / MICROS**2,
        row.delays,
    )
