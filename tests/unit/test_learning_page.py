"""The learning page is text that Prometheus reads, of figures that the allocator holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from service.allocations.cache import HeldEvidence, Totals
from service.allocations.learning import LearningFigures
from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.domain.evidence import Bucket, BucketKey
from service.domain.experiment import Experiment, ExperimentState
from service.metrics.page import TIMESTAMP, Family, Page, PageFile
from service.worker.page import LearningPage
from tests.store_records import HandClock
from tests.worker_rig import Rig, an_experiment

FIGURE = Family("figure", "What it is", "gauge", ("experiment", "variant"))
COUNT = Family("counts_total", "How many", "counter")


class LearnsMeanwhile(HeldEvidence):
    """Evidence of which the allocator reads more just when it was asked what is open."""

    def since(self, from_ms: int, now_ms: int) -> Totals:
        """Return what was open until now."""
        found = super().since(from_ms, now_ms)
        self.replace([Bucket(BucketKey(1, "", 0, now_ms // HOUR_MS), pulls=5)], 1)
        return found


def read(page: Page) -> dict[tuple[str, ...], float]:
    """Return the value of each series, by its name and its labels' values."""
    families = text_string_to_metric_families(page.text().decode())
    return {
        (sample.name.removeprefix("promobandit_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def figures(rig: Rig, experiment: Experiment) -> dict[tuple[str, ...], float]:
    """Return what a worker's allocator says of an experiment."""
    allocator = rig.allocator()
    await allocator.refresh(experiment.number)
    page = Page()
    LearningFigures(allocator.learned, rig.clock)(page)
    return read(page)


def test_series_come_by_family_with_help_and_type() -> None:
    page = Page()
    page.put(FIGURE, ("2/spring", "a"), 0.25)
    page.put(COUNT, (), 7)
    page.put(FIGURE, ("2/spring", "b"), float("nan"))

    assert page.text().decode().splitlines() == [
        "# HELP promobandit_figure What it is",
        "# TYPE promobandit_figure gauge",
        'promobandit_figure{experiment="2/spring",variant="a"} 0.25',
        "# HELP promobandit_counts_total How many",
        "# TYPE promobandit_counts_total counter",
        "promobandit_counts_total 7.0",
    ]


def test_a_page_names_so_many_experiments_and_all_figures_of_those() -> None:
    page = Page(experiments_max=1)
    for experiment, variant in (("one", "a"), ("two", "a"), ("one", "b")):
        page.put(FIGURE, (experiment, variant), 1)

    assert list(read(page)) == [("figure", "one", "a"), ("figure", "one", "b")]


async def test_an_experiment_shows_what_is_pending_expired_and_how_long_rewards_take() -> None:
    rig = Rig()
    experiment = await rig.create()  # Its window is seven days.
    await rig.send(experiment, 0, pulls=10, rewards=0)
    rig.clock.at_ms += 8 * DAY_MS
    decisions = [rig.decision(experiment, 1) for _ in range(5)]
    await rig.ledger.append(decisions, [])
    rig.clock.at_ms += 2 * HOUR_MS - MINUTE_MS
    await rig.ledger.append([], [rig.reward(decision) for decision in decisions[:2]])

    shown = await figures(rig, experiment)

    assert shown["pulls_total", "spring", "a"] == 10
    assert shown["rewarded_decisions_total", "spring", "b"] == 2
    assert shown["effective_pulls", "spring", "b"] == 5
    assert shown["effective_rewards", "spring", "b"] == 2
    assert shown["pending_decisions", "spring"] == 3
    assert shown["expired_decisions_ratio", "spring"] == 1
    assert shown["reward_delay_seconds", "spring", "0.5"] == 5_400  # In the bin of 1 to 2 hours.
    assert shown["allocation_version", "spring"] == 1
    assert 0 < shown["allocation_entropy_ratio", "spring"] < 1
    propensities = [shown["allocation_propensity", "spring", each] for each in "abcd"]
    assert sum(propensities) == pytest.approx(1)


async def test_what_is_not_known_is_no_series_and_who_has_ended_is_not_shown() -> None:
    rig = Rig()
    new = await rig.create()
    ended = await rig.create(replace(an_experiment("ended"), state=ExperimentState.STOPPED))

    shown = await figures(rig, new)

    assert ("pending_decisions", "spring") in shown
    assert ("expired_decisions_ratio", "spring") not in shown
    assert ("reward_delay_seconds", "spring", "0.5") not in shown
    assert await figures(rig, ended) == {}


async def test_what_is_learned_while_the_page_is_made_has_not_expired() -> None:
    rig = Rig()
    allocator = rig.allocator()
    await allocator.refresh((await rig.create()).number)
    (learned,) = allocator.learned()
    page = Page()
    LearningFigures(lambda: [replace(learned, evidence=LearnsMeanwhile())], rig.clock)(page)

    shown = read(page)

    assert shown["pending_decisions", "spring"] == 0
    assert ("expired_decisions_ratio", "spring") not in shown


async def test_a_writer_that_fails_keeps_no_figure_of_others_back(tmp_path: Path) -> None:
    def fail(_: Page) -> None:
        raise ZeroDivisionError

    file, clock = PageFile(tmp_path, "me"), HandClock()
    writers = (fail, lambda page: page.put(COUNT, (), 1))
    page = LearningPage(file, writers, lambda: True, clock)
    with pytest.raises(ExceptionGroup, match="writers"):
        await page.turn()

    assert TIMESTAMP.exposed_name.encode() in file.read()
    assert b"promobandit_counts_total 1.0" in file.read()


async def test_who_loses_the_lease_takes_its_page_away(tmp_path: Path) -> None:
    holds = [True, False]
    file = PageFile(tmp_path, "me")
    page = LearningPage(file, (), lambda: holds.pop(0), HandClock())

    written = (await page.turn(), bool(file.read()))
    assert (written, await page.turn(), file.read()) == ((True, True), False, b"")
