"""The check of a split reads what changed, judges it by its own allocations, and says it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from service.domain.allocation import Allocation, allocation_of
from service.domain.clock import HOUR_MS
from service.domain.decision import Decision
from service.domain.experiment import Experiment
from service.domain.quality import CheckState
from service.domain.split import SplitChange
from service.metrics.page import Page
from service.quality.split import ACTUAL, EVIDENCE, INTENDED, SplitCheck
from service.quality.verdicts import Verdict
from service.store.memory_split import MemorySplitStore
from tests.worker_rig import Rig

THIRDS = (2**31, 2**30, 2**30, 0)  # A half and two quarters; the last one is paused.


class CountingSplits(MemorySplitStore):
    """Notes from which revision on counts were read."""

    read: list[int]

    async def changes(self, experiment: int, above_revision: int = 0) -> SplitChange:
        """Return the counts, and note that they were asked for."""
        self.read = [*getattr(self, "read", []), above_revision]
        return await super().changes(experiment, above_revision)


@dataclass
class Watched:
    """One experiment of variants a, b, c and d, its ledger, and the check."""

    rig: Rig = field(default_factory=Rig)
    experiment: Experiment = field(init=False)
    splits: CountingSplits = field(init=False)
    check: SplitCheck = field(init=False)

    async def start(self) -> Watched:
        """Create the experiment and its first allocation."""
        self.experiment = await self.rig.create()
        created_at_ms = self.rig.clock.now_ms()
        self.experiment = replace(self.experiment, created_at_ms=created_at_ms)
        self.splits = CountingSplits(self.rig.ledger, self.rig.allocations)
        self.check = SplitCheck(self.splits, self.rig.clock)
        await self.allocate(1)
        return self

    async def allocate(self, version: int, revision: int = 1) -> Allocation:
        """Write an allocation."""
        configured = replace(self.experiment, revision=revision)
        made = allocation_of(configured, version, THIRDS, self.rig.clock.now_ms(), "test")
        assert await self.rig.allocations.insert(made)
        return made

    def decisions(self, *counts: int, version: int = 1, late_ms: int = 0) -> list[Decision]:
        """Return so many decisions of each variant."""
        return [
            replace(
                self.rig.decision(self.experiment, variant),
                version=version,
                decided_at_ms=self.rig.clock.now_ms() - late_ms,
            )
            for variant, count in enumerate(counts)
            for _ in range(count)
        ]

    async def send(self, *counts: int, version: int = 1, late_ms: int = 0) -> None:
        """Record so many decisions of each variant."""
        sent = self.decisions(*counts, version=version, late_ms=late_ms)
        await self.rig.ledger.append(sent, [])

    async def judge(self, *, pass_ms: int = 1_000) -> Verdict:
        """Let some time pass, then judge."""
        self.rig.clock.at_ms += pass_ms
        return await self.check.judge(self.experiment, self.rig.clock.now_ms())

    async def judge_anew(self) -> Verdict:
        """Judge as a worker does that has just started."""
        fresh = SplitCheck(MemorySplitStore(self.rig.ledger, self.rig.allocations), self.rig.clock)
        return await fresh.judge(self.experiment, self.rig.clock.now_ms())


@pytest.fixture
async def watched() -> Watched:
    return await Watched().start()


async def test_without_decisions_there_is_nothing_to_judge(watched: Watched) -> None:
    assert await watched.judge() == Verdict("split", CheckState.ok, "No decisions to judge yet.")


async def test_what_splits_as_intended_is_fine(watched: Watched) -> None:
    await watched.send(203, 99, 98)

    verdict = await watched.judge()

    assert verdict.state is CheckState.ok
    assert verdict.sentence == "400 decisions were split as intended, as far as one can tell."
    assert (verdict.figures["decisions"], verdict.figures["unjudged"]) == (400, 0)
    assert verdict.figures["log_evidence"] < 1
    assert verdict.figures["p_value_of_one_look"] > 0.5


async def test_a_tilted_sampler_is_told_with_its_variant_and_its_shares(watched: Watched) -> None:
    await watched.send(257, 128, 215)

    verdict = await watched.judge()

    assert verdict.state is CheckState.alarm
    assert verdict.sentence == (
        "Variant c got 35.8 % of 600 decisions where 25.0 % were intended; chance alone ever shows"
        " such a thing in fewer than 1 in 10,000 experiments."
    )


async def test_weaker_evidence_is_a_warning_until_it_is_gone(watched: Watched) -> None:
    await watched.send(263, 132, 205)
    warned = await watched.judge()

    await watched.send(90, 45, 45)
    wavering = await watched.judge()
    await watched.send(600, 300, 300)
    calm = await watched.judge()

    assert [warned.state, wavering.state, calm.state] == [
        CheckState.warning,
        CheckState.warning,
        CheckState.ok,
    ]
    assert wavering.figures["log_evidence"] < 4.6 < warned.figures["log_evidence"]


async def test_a_variant_that_could_not_be_chosen_and_was_raises_an_alarm(
    watched: Watched,
) -> None:
    await watched.send(80, 40, 40, 12)

    verdict = await watched.judge()

    assert verdict.state is CheckState.alarm
    assert verdict.sentence.startswith("Variant d got 7.0 % of 172 decisions where 0.0 % were")


async def test_a_bias_that_began_later_is_told_with_its_hour(watched: Watched) -> None:
    await watched.send(2_000, 1_000, 1_000)
    await watched.judge(pass_ms=3 * HOUR_MS)
    await watched.send(300, 60, 240)

    verdict = await watched.judge()

    assert verdict.state is CheckState.alarm
    assert "of 600 decisions since 2024-10-04 03:00 UTC where" in verdict.sentence


async def test_an_alarm_stays_until_the_experiment_is_changed(watched: Watched) -> None:
    await watched.send(257, 128, 215)
    await watched.judge(pass_ms=2 * HOUR_MS)
    await watched.send(200, 100, 100)
    later = await watched.judge(pass_ms=5 * HOUR_MS)

    await watched.allocate(2, revision=2)
    await watched.send(20, 10, 10, version=2)
    changed = await watched.judge()

    assert later.state is CheckState.alarm
    assert changed.state is CheckState.ok
    assert changed.figures["decisions"] == 40
    assert (await watched.judge_anew()).figures == pytest.approx(changed.figures)


async def test_a_worker_that_starts_again_comes_to_the_same_evidence(watched: Watched) -> None:
    for hour in range(6):
        await watched.allocate(hour + 2)
        await watched.send(52, 25, 23, version=hour + 1)
        await watched.judge(pass_ms=HOUR_MS // 3)
        await watched.send(24, 13, 13, version=hour + 2)
        await watched.judge(pass_ms=HOUR_MS)

    verdict = await watched.judge()

    assert verdict.figures["decisions"] == 900
    assert (await watched.judge_anew()).figures == pytest.approx(verdict.figures)


async def test_decisions_that_an_outbox_brings_late_count_where_they_belong(
    watched: Watched,
) -> None:
    await watched.send(52, 25, 23)
    await watched.judge(pass_ms=9 * HOUR_MS)
    await watched.send(48, 25, 27)
    await watched.judge()

    await watched.send(50, 0, 50, late_ms=8 * HOUR_MS)
    verdict = await watched.judge()

    assert verdict.figures["decisions"] == 300
    assert (await watched.judge_anew()).figures == pytest.approx(verdict.figures)


async def test_only_what_changed_is_read(watched: Watched) -> None:
    await watched.send(2, 1, 1)
    await watched.judge()
    await watched.judge()
    await watched.send(2, 1, 1)
    await watched.judge()

    assert watched.splits.read == [0, 1]


async def test_all_is_read_again_after_sql_went_back(watched: Watched) -> None:
    await watched.send(2, 1, 1)
    before = await watched.judge()
    await watched.rig.ledger.renew_revisions(2**40, [])

    after = await watched.judge()

    assert watched.splits.read == [0, 1, 0]
    assert after == before


async def test_decisions_of_an_unknown_allocation_are_left_out_and_told(watched: Watched) -> None:
    await watched.send(20, 10, 10)
    await watched.send(0, 0, 30, version=99)

    verdict = await watched.judge()

    assert (verdict.figures["decisions"], verdict.figures["unjudged"]) == (40, 30)
    assert verdict.state is CheckState.ok


async def test_eligible_variants_share_the_weights_of_the_others(watched: Watched) -> None:
    sent = [replace(decision, eligible=(0, 2, 3)) for decision in watched.decisions(400, 0, 200)]
    await watched.rig.ledger.append(sent, [])

    verdict = await watched.judge()

    assert verdict.figures["p_value_of_one_look"] == pytest.approx(1.0)
    assert verdict.figures["log_evidence"] < 0


async def test_the_page_shows_the_last_day(watched: Watched) -> None:
    await watched.send(500, 250, 250)
    await watched.judge(pass_ms=25 * HOUR_MS)
    await watched.send(60, 20, 20)
    verdict = await watched.judge()
    page = Page()

    watched.check.write(page)

    lines = page.text().decode().splitlines()
    prefix = f'{ACTUAL.exposed_name}{{experiment="spring",variant='
    assert [line for line in lines if line.startswith(prefix)] == [
        f'{prefix}"a"}} 0.6',
        f'{prefix}"b"}} 0.2',
        f'{prefix}"c"}} 0.2',
        f'{prefix}"d"}} 0.0',
    ]
    assert f'{INTENDED.exposed_name}{{experiment="spring",variant="a"}} 0.5' in lines
    evidence = f'{EVIDENCE.exposed_name}{{experiment="spring"}} {verdict.figures["log_evidence"]!r}'
    assert evidence in lines


async def test_the_page_forgets_what_is_judged_no_more(watched: Watched) -> None:
    await watched.send(2, 1, 1)
    await watched.judge()
    watched.rig.clock.at_ms += HOUR_MS
    page = Page()

    watched.check.write(page)

    assert page.text() == b""
