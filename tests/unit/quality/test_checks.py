"""What the checks say: of values unlike any before, of silence, and of too little to tell."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.experiment import RewardSpec
from service.domain.quality import CheckState, HourCounts, Outcome, Tally, TallyKey
from service.quality.bursts import DUPLICATES, BurstCheck, ValuesCheck
from service.quality.past import PastReader
from service.quality.rates import RewardRateCheck
from service.quality.silences import MissingRewardsCheck
from service.quality.verdicts import Check, Verdict
from service.quality.words import count, duration, percent
from service.store.memory_ledger import MemoryLedger
from service.store.memory_quality import MemoryQualityEvidence, MemoryTallyStore
from tests.worker_rig import an_experiment

HOUR = 500_000
NOW_MS = HOUR * HOUR_MS + HOUR_MS // 2
PLAIN = an_experiment()
VALUED = replace(PLAIN, reward=RewardSpec(kind="value"))


class Told(MemoryQualityEvidence):
    """Evidence and tallies as a test tells them."""

    def __init__(self) -> None:
        self.tallies = MemoryTallyStore()
        super().__init__(MemoryLedger(), self.tallies)
        self.rows: list[HourCounts] = []
        self.last_ms: int | None = None

    async def hours(self, experiment: int, since_hour: int) -> list[HourCounts]:  # noqa: ARG002
        """Return what was told."""
        return [row for row in self.rows if row.hour >= since_hour]

    async def last_accepted_ms(self, experiment: int) -> int | None:  # noqa: ARG002
        """Return what was told."""
        return self.last_ms

    async def come(self, hours_ago: int, outcome: Outcome, tally: Tally) -> None:
        """Tell of rewards that came."""
        await self.tallies.add({TallyKey(0, HOUR - hours_ago, outcome): tally})

    @property
    def reader(self) -> PastReader:
        """What the checks read by."""
        return PastReader(self, self.tallies)


async def values(largest: int, smallest: int = 1) -> Verdict:
    told = Told()
    await told.come(50, Outcome.accepted, Tally(200, 10, 1))
    await told.come(1, Outcome.accepted, Tally(5, largest, smallest))
    return await ValuesCheck(told.reader).judge(VALUED, NOW_MS)


@pytest.mark.parametrize(
    ("largest", "smallest", "state"),
    [(90, 1, "ok"), (100, 1, "warning"), (1_000, 1, "alarm"), (10, -1, "alarm")],
)
async def test_one_value_unlike_any_before_is_enough(
    largest: int, smallest: int, state: str
) -> None:
    verdict = await values(largest, smallest)

    assert verdict.state.name == state


async def test_where_values_are_fixed_only_refusals_are_judged() -> None:
    told = Told()
    await told.come(50, Outcome.accepted, Tally(200, 10, 1))
    await told.come(0, Outcome.accepted, Tally(20, 10_000, 1))
    await told.come(0, Outcome.invalid, Tally(80))
    verdict = await ValuesCheck(told.reader).judge(PLAIN, NOW_MS)

    assert verdict.state is CheckState.alarm
    assert verdict.sentence.startswith("80 of the 100 rewards of the last two hours were refused")


async def test_a_few_duplicates_are_never_a_burst() -> None:
    told = Told()
    await told.come(0, Outcome.duplicate, Tally(9))
    verdict = await BurstCheck(DUPLICATES, told.reader).judge(PLAIN, NOW_MS)

    assert verdict.state is CheckState.ok
    assert verdict.sentence.endswith("(100%), which is nothing unusual.")


async def test_nothing_at_all_is_well_and_says_so() -> None:
    reader = Told().reader
    checks: list[Check] = [RewardRateCheck(reader), MissingRewardsCheck(reader)]
    checks.append(BurstCheck(DUPLICATES, reader))
    verdicts = [await check.judge(PLAIN, NOW_MS) for check in checks]

    assert [verdict.state for verdict in verdicts] == [CheckState.ok] * 3
    assert [verdict.sentence.split()[0] for verdict in verdicts] == ["There", "No", "No"]


async def test_decisions_that_were_never_rewarded_are_told() -> None:
    told = Told()
    told.rows = [HourCounts(0, HOUR - 30, 12_000, 0, 0, 0, {})]
    verdict = await MissingRewardsCheck(told.reader).judge(PLAIN, NOW_MS)

    assert verdict.state is CheckState.warning
    assert "12,000 decisions are older than a day" in verdict.sentence


async def test_a_value_ten_times_as_large_on_average_is_a_change() -> None:
    told = Told()
    micros = 20 * 10**6
    told.rows = [
        HourCounts(0, HOUR - ago, 1_000, 50, 50 * micros, 50 * 25 * micros * 10**6, {4: 50})
        for ago in range(1, 300)
    ]
    told.rows[:3] = [row._replace(value_micros=500 * micros) for row in told.rows[:3]]
    verdict = await RewardRateCheck(told.reader).judge(VALUED, NOW_MS)

    assert verdict.state is CheckState.alarm
    assert "are worth 450% more" in verdict.sentence


async def test_what_is_reported_late_is_waited_for() -> None:
    told = Told()
    told.rows = [
        HourCounts(0, HOUR - ago, 1_000, 50, 0, 0, {4: 50 if ago > 12 else 0})
        for ago in range(1, 300)
    ]
    at_once = await RewardRateCheck(told.reader).judge(PLAIN, NOW_MS)
    await told.come(2, Outcome.accepted, Tally(50, lag_ms=DAY_MS // 2))
    delivered = await RewardRateCheck(told.reader).judge(PLAIN, NOW_MS)

    assert (at_once.state, delivered.state) == (CheckState.alarm, CheckState.ok)
    assert "100% less" in at_once.sentence


def test_figures_are_spelt_for_people() -> None:
    assert [percent(x) for x in (0.0, 0.004, 0.25)] == ["0%", "0.4%", "25%"]
    assert [duration(x) for x in (0.5, 1.0, 3.25, 24.4, 72.0)] == [
        "30 minutes",
        "1 hour",
        "3.2 hours",
        "24 hours",
        "3 days",
    ]
    assert count(12_345.6) == "12,346"
