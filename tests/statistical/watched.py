"""Traffic as the checks of data quality read it, and how often each of them speaks up.

`python -m tests.statistical.watched` prints the table of docs/data-quality.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from service.bandits.arrays import FloatArray
from service.domain.clock import HOUR_MS
from service.domain.quality import CheckState, Outcome, Tally
from service.quality import Check
from service.quality.bursts import DUPLICATES, ORPHANS, BurstCheck, ValuesCheck
from service.quality.past import HISTORY_HOURS, Past, PastReader
from service.quality.rates import RewardRateCheck
from service.quality.silences import MissingRewardsCheck
from service.store.memory_ledger import MemoryLedger
from service.store.memory_quality import MemoryQualityEvidence, MemoryTallyStore
from tests.statistical.traffic import Traffic
from tests.worker_rig import an_experiment

SENDS_A_DAY = (300.0, 3_000.0, 30_000.0)
DAYS = 60
WARM_UP_HOURS = 24
EXPERIMENTS = 8
HOURS_APART = 2
INCIDENT = 20 * 24 + 14  # In the afternoon of a working day, three weeks on.
INCIDENT_DAYS = 25
INCIDENT_EXPERIMENTS = 4


class TrafficReader(PastReader):
    """Tells the checks of traffic, as it stands at the time of the look.

    Some rewards are repeated, in shares that differ by the hour (Beta, 2 % on average, with the
    concentration of 40 trials), 0.3 % have no decision, and 0.5 % are refused.
    """

    def __init__(self, traffic: Traffic, delivered_at: FloatArray | None = None) -> None:
        """`delivered_at` is when conversions are reported, if later than they happen."""
        ledger = MemoryLedger()
        super().__init__(MemoryQualityEvidence(ledger, MemoryTallyStore()), MemoryTallyStore())
        self.traffic = traffic
        self.deliver(traffic.decided + traffic.delay if delivered_at is None else delivered_at)

    def deliver(self, at: FloatArray) -> None:
        """Let conversions be reported at these times."""
        self.delivered = np.sort(at)
        hours = max(self.traffic.days * 24, int(at.max(initial=0.0))) + 2
        self.counts = np.bincount(self.delivered.astype(int), minlength=hours)
        rng = self.traffic.rng
        shares = rng.beta(0.02 * 40, 0.98 * 40, hours)
        self.extra = {
            Outcome.duplicate: rng.binomial(self.counts, shares),
            Outcome.orphan: rng.binomial(self.counts, 0.003),
            Outcome.invalid: rng.binomial(self.counts, 0.005),
        }

    async def _past(self, number: int, now_ms: int) -> Past:  # noqa: ARG002
        now = now_ms / HOUR_MS
        known = int(np.searchsorted(self.delivered, now, side="right"))
        hour = now_ms // HOUR_MS
        first = max(0, hour + 1 - HISTORY_HOURS)
        hours = {at: self._of_hour(at) for at in range(first, min(hour, len(self.counts)))}
        # Of this hour, as many as have come.
        hours[hour] = {Outcome.accepted: Tally(known - int(self.counts[:hour].sum()))}
        last = int(self.delivered[known - 1] * HOUR_MS) if known else None
        return Past(now_ms, self.traffic.grid(now), {h: t for h, t in hours.items() if t}, last)

    def _of_hour(self, hour: int) -> dict[Outcome, Tally]:
        orphans = int(self.extra[Outcome.orphan][hour])
        counts = {
            Outcome.accepted: int(self.counts[hour]),
            Outcome.duplicate: int(self.extra[Outcome.duplicate][hour]),
            Outcome.orphan: orphans,
            Outcome.found: int(self.counts[hour]) - orphans,
            Outcome.invalid: int(self.extra[Outcome.invalid][hour]),
        }
        return {outcome: Tally(count) for outcome, count in counts.items() if count > 0}


def all_checks(reader: PastReader) -> list[Check]:
    """Return the checks, the one of the split excepted."""
    return [
        RewardRateCheck(reader),
        MissingRewardsCheck(reader),
        BurstCheck(DUPLICATES, reader),
        BurstCheck(ORPHANS, reader),
        ValuesCheck(reader),
    ]


async def states(
    checks: Sequence[Check], times: Sequence[float]
) -> dict[str, list[tuple[float, CheckState]]]:
    """Return every state that is not ok, by check, with its time in hours."""
    found: dict[str, list[tuple[float, CheckState]]] = {check.name: [] for check in checks}
    for now in times:
        for check in checks:
            verdict = await check.judge(an_experiment(), round(now * HOUR_MS))
            if verdict.state is not CheckState.ok:
                found[check.name].append((now, verdict.state))
    return found


def lose(share: float) -> Callable[[TrafficReader], None]:
    """Return an incident in which so many rewards do not come any more."""

    def losing(subject: TrafficReader) -> None:
        traffic = subject.traffic
        happened = traffic.decided + traffic.delay
        is_kept = (happened < INCIDENT) | (traffic.rng.random(len(happened)) >= share)
        traffic.keep(is_kept)
        subject.deliver(happened[is_kept])

    return losing


def add(outcome: Outcome) -> Callable[[TrafficReader], None]:
    """Return an incident in which four bad ones come with every reward."""

    def adding(subject: TrafficReader) -> None:
        subject.extra[outcome][INCIDENT:] += 4 * subject.counts[INCIDENT:]

    return adding


# What happens, which check is to meet it, and within how many hours at 60,000 sends a day.
INCIDENTS: tuple[tuple[str, Callable[[TrafficReader], None], str, float], ...] = (
    ("70 % of the rewards are lost", lose(0.7), "reward_rate", 48.5),
    ("all rewards are lost", lose(1.0), "missing_rewards", 10.5),
    ("each is repeated four times", add(Outcome.duplicate), "duplicates", 2.5),
    ("four of five have no decision", add(Outcome.orphan), "orphans", 2.5),
    ("four of five are refused", add(Outcome.invalid), "values", 2.5),
)


async def hours_to_alarm(reader: TrafficReader, check: str) -> float:
    """Return how long after the incident a check alarms, looking every hour; infinite: never."""
    (own,) = (each for each in all_checks(reader) if each.name == check)
    for hours in np.arange(0.5, 96.0):
        verdict = await own.judge(an_experiment(), round((INCIDENT + hours) * HOUR_MS))
        if verdict.state is CheckState.alarm:
            return float(hours)
    return float("inf")


async def main() -> None:
    """Print how often healthy traffic is taken for an incident, and how soon one is met."""
    await healthy(np.random.default_rng(20261124))
    rng = np.random.default_rng(20261125)
    for what, happens, check, _ in INCIDENTS:
        for sends in SENDS_A_DAY:
            hours = []
            for _ in range(INCIDENT_EXPERIMENTS):
                reader = TrafficReader(Traffic(rng, INCIDENT_DAYS, sends))
                happens(reader)
                hours.append(await hours_to_alarm(reader, check))
            spread = ", ".join(f"{each:g}" for each in sorted(hours))
            _say(f"{what}, {sends:,.0f} sends a day: {check} after {spread} hours")


async def healthy(rng: np.random.Generator) -> None:
    """Print how often healthy traffic makes each check warn or alarm."""
    times = np.arange(WARM_UP_HOURS + 0.5, DAYS * 24, HOURS_APART)
    for sends in SENDS_A_DAY:
        looks: Counter[tuple[str, CheckState]] = Counter()
        for _ in range(EXPERIMENTS):
            reader = TrafficReader(Traffic(rng, DAYS, sends))
            for name, said in (await states(all_checks(reader), times.tolist())).items():
                looks.update((name, state) for _, state in said)
        days = EXPERIMENTS * DAYS
        _say(f"{sends:,.0f} sends a day, {days} days, {EXPERIMENTS * len(times):,} looks")
        for (name, state), count in sorted(looks.items()):
            _say(f"  {name}: {state.name} at {count} looks")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
