"""Whether rewards have stopped coming: a silence longer than its history explains."""

from __future__ import annotations

import asyncio

from service.bandits.hours import arrivals, incidence
from service.bandits.silence import Silence, silence
from service.domain.clock import HOUR_MS
from service.domain.experiment import Experiment
from service.domain.quality import Outcome
from service.quality.past import EDGES, Past, PastReader
from service.quality.verdicts import CheckState, Verdict
from service.quality.words import count, duration

# Of independent rewards, so many to be expected stay out with probability exp(-so many).
EXPECTED_WARNING = 10.0
EXPECTED_ALARM = 14.0
# Deliveries come in crowds: a silence must be so many times the longest one before.
LONGEST_WARNING = 1.6
LONGEST_ALARM = 2.0
HOURS_MIN = 2.0  # Shorter ones cannot be compared with a history by the hour.
YOUNG_HOURS = 72.0  # So long it is not known how rewards come, and a silence must be
YOUNG_HOURS_MIN = 36.0  # longer than a night.
# Even a poor campaign has one conversion in a thousand decisions within a day.
NEVER_RATE = 0.001
NEVER_AGE_HOURS = 24
COMING = (Outcome.accepted, Outcome.queued)


class MissingRewardsCheck:
    """Compares a silence with what was sent, and with the silences before."""

    name = "missing_rewards"

    def __init__(self, reader: PastReader) -> None:
        self._reader = reader

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the verdict of now."""
        past = await self._reader.past(experiment, now_ms)
        return await asyncio.to_thread(self._judge, past)

    def _judge(self, past: Past) -> Verdict:
        last_ms = _last_ms(past)
        if last_ms is None:
            return self._never(past)
        hours = max(0.0, (past.now_ms - last_ms) / HOUR_MS)
        found = _silence(past, last_ms / HOUR_MS)
        figures = {
            "hours": hours,
            "expected": found.expected,
            "longest_expected": found.longest,
        }
        state = _state(found, hours, past)
        return Verdict(self.name, state, _sentence(found, hours, state), figures)

    def _never(self, past: Past) -> Verdict:
        old = past.grid.pulls[:, :-NEVER_AGE_HOURS].sum()
        expected = float(old) * NEVER_RATE
        if expected < EXPECTED_WARNING:
            return Verdict(self.name, CheckState.ok, "No reward has come yet.")
        sentence = (
            f"No reward that counts has ever come, though {count(float(old))} decisions are older "
            "than a day: are they reported at all?"
        )
        return Verdict(self.name, CheckState.warning, sentence, {"decisions": float(old)})


def _last_ms(past: Past) -> int | None:
    """Return when the last reward that counts came; the hour of it after many that do not."""
    if past.last_accepted_ms is not None:
        return past.last_accepted_ms
    hours = past.accepted()
    return (max(hours) + 1) * HOUR_MS if hours else None


def _silence(past: Past, last: float) -> Silence:
    """Return how much is missing; what has come by then tells the rates, silence does not."""
    grid = past.grid
    rates = incidence(grid, EDGES, last)
    expected = arrivals(grid, rates, EDGES, past.now)
    has_come = [past.count(grid.start + i, COMING) > 0 for i in range(len(expected))]
    return silence(expected, has_come, last - grid.start)


def _state(found: Silence, hours: float, past: Past) -> CheckState:
    if hours < _hours_min(past):
        return CheckState.ok
    times = found.expected / found.longest if found.longest else float("inf")
    if found.expected >= EXPECTED_ALARM and times >= LONGEST_ALARM:
        return CheckState.alarm
    if found.expected >= EXPECTED_WARNING and times >= LONGEST_WARNING:
        return CheckState.warning
    return CheckState.ok


def _hours_min(past: Past) -> float:
    coming = (hour for hour in past.hours if past.count(hour, COMING))
    is_young = past.hour - min(coming, default=past.hour) < YOUNG_HOURS
    return YOUNG_HOURS_MIN if is_young else HOURS_MIN


def _sentence(found: Silence, hours: float, state: CheckState) -> str:
    last = f"The last reward that counts came {duration(hours)} ago"
    if state is CheckState.ok:
        return f"{last}, which what was sent and the silences before explain."
    return (
        f"{last}, where about {count(found.expected)} more were to be expected since; the longest "
        f"silence of the weeks before lacked {count(found.longest)}."
    )
