"""Whose turn it is: what changed first, everything in time, and nobody starves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS, MINUTE_MS
from service.domain.experiment import EvidenceSpec, PolicySpec
from service.sla import ALLOCATION_INTERVAL_MS
from tests.worker_rig import Rig, an_experiment, variants


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_evidence_with_a_half_life_moves_the_allocation_as_it_ages(rig: Rig) -> None:
    aging = replace(
        an_experiment(),
        variants=variants("a", "b"),
        evidence=EvidenceSpec(half_life_seconds=3_600),
    )
    experiment = await rig.create(aging)
    await rig.send(experiment, 0, pulls=200, rewards=60)
    await rig.send(experiment, 1, pulls=200, rewards=20)
    schedule = rig.schedule()
    await schedule.tick()
    sure = (await rig.head(experiment)).propensities[0]

    rig.clock.at_ms += 12 * HOUR_MS
    await schedule.tick()

    assert (await rig.head(experiment)).propensities[0] < sure
    published = await rig.published.fetch(experiment.number)
    assert published is not None
    assert published.evidence.pulls[0] < 1.0


async def test_an_experiment_that_cannot_be_allocated_does_not_stop_the_others(rig: Rig) -> None:
    broken = await rig.create(an_experiment("broken", PolicySpec("no-such-policy")))
    sound = await rig.create(an_experiment("sound"))

    schedule = rig.schedule()
    for _ in range(2):
        await schedule.tick()

    assert await rig.head_version(broken) == 0
    assert await rig.head_version(sound) == 1


async def test_an_experiment_is_allocated_at_most_every_200_ms(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    await schedule.tick()
    for version in (1, 2):
        await rig.send(experiment, 1, pulls=50, rewards=40)
        rig.clock.at_ms += ALLOCATION_INTERVAL_MS // 2
        await schedule.tick()
        assert await rig.head_version(experiment) == version


async def test_a_quiet_minute_writes_nothing(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    for _ in range(3):
        await schedule.tick()
        rig.clock.at_ms += MINUTE_MS

    assert await rig.head_version(experiment) == 1


async def test_evidence_of_an_unknown_experiment_is_passed_over(rig: Rig) -> None:
    schedule = rig.schedule()
    await schedule.tick()
    known = await rig.create()
    stranger = replace(known, number=99)
    await rig.send(stranger, 0, pulls=1, rewards=0)
    await rig.send(known, 0, pulls=1, rewards=0)
    await schedule.tick()

    assert await rig.head_version(known) == 1


async def test_one_tick_of_many_experiments_is_bounded_and_none_is_forgotten(rig: Rig) -> None:
    made = [
        await rig.create(replace(an_experiment(f"e{i}"), variants=variants("a", "b")))
        for i in range(60)
    ]
    schedule = rig.schedule()
    for _ in range(60):
        await schedule.tick()

    assert all([await rig.head_version(experiment) == 1 for experiment in made])


async def test_evidence_from_between_a_restore_and_the_first_tick_is_allocated(rig: Rig) -> None:
    experiment = await rig.create()
    schedule = rig.schedule()
    await schedule.refresh(experiment.number)
    rig.clock.at_ms += ALLOCATION_INTERVAL_MS
    await rig.send(experiment, 1, pulls=50, rewards=40)

    await schedule.tick()

    published = await rig.published.fetch(experiment.number)
    assert published is not None
    assert published.evidence.pulls == (0.0, 50.0, 0.0, 0.0)
