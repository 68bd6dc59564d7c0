"""The allocator writes versions when they are due, in SQL first, and never goes back."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from service.domain.allocation import WEIGHT_SUM
from service.domain.experiment import (
    EvidenceSpec,
    Experiment,
    ExperimentState,
    PolicySpec,
    Variant,
    VariantState,
)
from service.sla import ALLOCATION_INTERVAL_MS, ALLOCATION_REFRESH_MS
from service.store.memory_sql import MemoryExperimentStore
from tests.worker_rig import UNIFORM, Rig, an_experiment


@pytest.fixture
def rig() -> Rig:
    return Rig()


def with_states(experiment: Experiment, **states: VariantState) -> Experiment:
    changed = tuple(
        replace(variant, state=states.get(variant.id, variant.state))
        for variant in experiment.variants
    )
    return replace(experiment, revision=experiment.revision + 1, variants=changed)


async def test_the_first_allocation_without_evidence_is_even(rig: Rig) -> None:
    experiment = await rig.create()

    publication = await rig.allocator().reallocate(experiment, "create")

    allocation = publication.allocation
    assert (allocation.version, allocation.revision, allocation.reason) == (1, 1, "create")
    assert allocation.weights == UNIFORM
    assert await rig.published.fetch(experiment.number) == publication


async def test_a_version_is_written_only_when_a_propensity_moved(rig: Rig) -> None:
    experiment = await rig.create()
    allocator = rig.allocator()
    await allocator.reallocate(experiment, "create")

    await allocator.refresh(experiment.number)
    assert await rig.head_version(experiment) == 1

    await rig.send(experiment, 2, pulls=50, rewards=20)
    await rig.send(experiment, 0, pulls=50, rewards=1)
    await allocator.refresh(experiment.number)
    assert await rig.head_version(experiment) == 2


async def test_new_evidence_is_published_with_the_version_in_force(rig: Rig) -> None:
    experiment = await rig.create(an_experiment(policy=PolicySpec("uniform")))
    allocator = rig.allocator()
    await allocator.reallocate(experiment, "create")
    await rig.send(experiment, 1, pulls=7, rewards=2)

    await allocator.refresh(experiment.number)

    published = await rig.published.fetch(experiment.number)
    assert published is not None
    assert published.allocation.version == 1
    assert published.evidence.pulls == (0.0, 7.0, 0.0, 0.0)
    assert published.evidence.successes == (0.0, 2.0, 0.0, 0.0)


async def test_the_winner_gets_most_sends_within_a_few_ticks(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    await schedule.tick()
    for _ in range(3):
        rig.clock.at_ms += ALLOCATION_INTERVAL_MS
        for variant in range(4):
            await rig.send(experiment, variant, pulls=100, rewards=30 if variant == 3 else 5)
        await schedule.tick()

    allocation = await rig.head(experiment)
    assert allocation.propensities[3] > 0.5
    assert min(allocation.propensities) > 0.009  # The exploration floor.
    assert sum(allocation.weights) == WEIGHT_SUM


async def test_the_loser_of_an_insert_starts_again_from_the_newest_configuration(rig: Rig) -> None:
    old = await rig.create()
    ours, theirs = rig.allocator(), rig.allocator()
    await ours.reallocate(old, "create")
    new = await rig.experiments.update(with_states(old, b=VariantState.PAUSED), "pause", "test")
    await theirs.reallocate(new, "pause")

    publication = await ours.reallocate(old, "late")

    assert (publication.allocation.version, publication.allocation.revision) == (3, new.revision)
    assert publication.allocation.weights[1] == 0


async def test_many_allocators_at_once_write_gapless_versions(rig: Rig) -> None:
    experiment = await rig.create()

    await asyncio.gather(*(rig.allocator().reallocate(experiment, f"act {i}") for i in range(8)))

    assert await rig.head_version(experiment) == 8
    versions = [await rig.allocations.get(experiment.number, v) for v in range(1, 9)]
    assert all(versions)
    assert (await rig.published.versions([experiment.number])) == {experiment.number: 8}


async def test_a_redis_that_is_down_does_not_keep_a_version_from_sql(rig: Rig) -> None:
    experiment = await rig.create()
    rig.published.is_down = True

    publication = await rig.allocator().reallocate(experiment, "create")

    assert publication.allocation == await rig.head(experiment)


async def test_a_redis_that_is_behind_sql_gets_the_head_again(rig: Rig) -> None:
    experiment = await rig.create()
    rig.published.is_down = True
    await rig.allocator().reallocate(experiment, "create")  # In some API process.
    rig.published.is_down = False

    await rig.schedule().tick()

    assert await rig.published.versions([experiment.number]) == {experiment.number: 1}
    assert await rig.head_version(experiment) == 1


async def test_what_redis_refused_is_published_once_it_is_back(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    rig.published.is_down = True
    await schedule.tick()
    rig.published.is_down = False
    rig.clock.at_ms += 5_000
    await schedule.tick()

    assert await rig.published.versions([experiment.number]) == {experiment.number: 1}


async def test_a_crash_between_configuration_and_allocation_is_repaired(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    await schedule.tick()
    await rig.experiments.update(with_states(experiment, d=VariantState.PAUSED), "pause", "test")

    rig.clock.at_ms += ALLOCATION_REFRESH_MS
    await schedule.tick()

    allocation = await rig.head(experiment)
    assert (allocation.revision, allocation.reason) == (2, "configuration")
    assert allocation.weights[3] == 0


async def test_paused_added_and_retired_variants_keep_their_evidence(rig: Rig) -> None:
    experiment = await rig.create()
    allocator = rig.allocator()
    await rig.send(experiment, 0, pulls=10, rewards=1)
    await rig.send(experiment, 1, pulls=20, rewards=2)
    changed = with_states(experiment, a=VariantState.PAUSED, b=VariantState.RETIRED)
    changed = replace(changed, variants=(*changed.variants, Variant("e")))
    changed = await rig.experiments.update(changed, "update", "test")

    publication = await allocator.reallocate(changed, "update")

    assert publication.evidence.pulls == (10.0, 20.0, 0.0, 0.0, 0.0)
    weights = publication.allocation.weights
    assert weights[:2] == (0, 0)
    assert min(weights[2:]) > 0
    assert sum(weights) == WEIGHT_SUM


async def test_without_an_active_variant_every_weight_is_zero(rig: Rig) -> None:
    experiment = await rig.create()
    paused = with_states(experiment, **dict.fromkeys("abcd", VariantState.PAUSED))

    publication = await rig.allocator().reallocate(paused, "pause")

    assert publication.allocation.weights == (0, 0, 0, 0)


async def test_a_stopped_experiment_keeps_its_weights_and_says_its_state(rig: Rig) -> None:
    experiment = await rig.create()
    stopped = replace(experiment, revision=2, state=ExperimentState.STOPPED)

    publication = await rig.allocator().reallocate(stopped, "stop")

    assert publication.allocation.state is ExperimentState.STOPPED
    assert publication.allocation.weights == UNIFORM


async def test_fixed_shares_are_those_of_the_active_variants(rig: Rig) -> None:
    shares = {"a": 3.0, "b": 1.0, "c": 0.0, "d": 4.0}
    spec = PolicySpec("fixed", {"shares": shares})
    experiment = replace(await rig.create(an_experiment(policy=spec)), exploration_floor=0.0)
    allocator = rig.allocator()

    without_d = with_states(experiment, d=VariantState.PAUSED)
    assert (await allocator.reallocate(without_d, "pause")).allocation.weights == (
        3 * 2**30,
        2**30,
        0,
        0,
    )

    only_c = with_states(experiment, **dict.fromkeys("abd", VariantState.PAUSED))
    assert (await allocator.reallocate(only_c, "pause")).allocation.weights[2] == WEIGHT_SUM


class ChangedMeanwhile(MemoryExperimentStore):
    """Lets another process change an experiment right after it was read."""

    def __init__(self, rig: Rig, before: Experiment, after: Experiment) -> None:
        self._inner = rig.experiments
        self._others = rig.allocator()
        self._before = before
        self._after = after
        self._is_changed = False

    async def by_number(self, number: int, revision: int | None = None) -> Experiment:
        """Return what was there before the change, the first time."""
        if not self._is_changed:
            self._is_changed = True
            await self._inner.update(self._after, "update", "somebody-else")
            await self._others.reallocate(self._after, "update")
            return self._before
        return await self._inner.by_number(number, revision)


async def test_evidence_of_a_variant_newer_than_the_configuration_is_left_for_later(
    rig: Rig,
) -> None:
    for evidence in (EvidenceSpec(), EvidenceSpec(half_life_seconds=3_600)):
        experiment = await rig.create(
            replace(an_experiment(f"half-life-{evidence.half_life_seconds}"), evidence=evidence)
        )
        await rig.send(experiment, 4, pulls=5, rewards=1)

        publication = await rig.allocator().reallocate(experiment, "create")

        assert publication.evidence.pulls == (0.0,) * 4


async def test_a_change_while_an_allocation_is_computed_is_not_published_with_the_old_evidence(
    rig: Rig,
) -> None:
    experiment = await rig.create()
    allocator = rig.allocator()
    await allocator.reallocate(experiment, "create")
    more = replace(experiment, revision=2, variants=(*experiment.variants, Variant("e")))
    rig.experiments = ChangedMeanwhile(rig, experiment, more)
    worker = rig.allocator()

    await worker.refresh(experiment.number)

    published = await rig.published.fetch(experiment.number)
    assert published is not None
    assert len(published.evidence.pulls) == len(published.allocation.slots) == 5
