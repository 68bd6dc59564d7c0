"""An act on an experiment that SQL lost by failing over puts it back under its number first."""

from __future__ import annotations

import pytest

from service.domain.experiment import ExperimentState, Variant
from service.experiments import Act, Definition, Target
from service.store.memory_sql import MemoryAllocationStore
from tests.fakes import CrowdedExperimentStore, House

TARGET = Target(1, "spring", "ada")
AB = Definition(variants=(Variant("a"), Variant("b")))


@pytest.fixture
async def house() -> House:
    house = House()
    await house.experiments.put(TARGET._replace(experiment_id="earlier"), AB)
    await house.experiments.put(TARGET, AB)
    await house.experiments.act(TARGET, Act.PAUSE)
    house.store.__dict__.update(CrowdedExperimentStore().__dict__)
    house.allocation_store.__dict__.update(MemoryAllocationStore().__dict__)
    return house


@pytest.mark.parametrize("is_redis_there", [True, False])
async def test_it_keeps_its_number_and_never_repeats_a_version(
    house: House, is_redis_there: bool
) -> None:
    before = house.tables.get(1, "spring")
    assert before is not None
    lost = before.allocation
    if not is_redis_there:
        house.published.lose()

    acted = await house.experiments.act(TARGET, Act.RESUME)

    table = house.tables.get(1, "spring")
    assert table is not None
    assert acted.number == lost.experiment
    assert table.allocation.version > lost.version
    assert table.allocation.state is ExperimentState.RUNNING


async def test_putting_it_again_makes_no_second_one(house: House) -> None:
    lost = house.tables.get(1, "spring")
    assert lost is not None

    put, is_new = await house.experiments.put(TARGET, AB)

    assert not is_new
    assert put.number == lost.allocation.experiment
    assert [entry.action for entry in await house.experiments.trail(1, "spring")] == ["adopt"]
