"""An act on an experiment that SQL lost by failing over puts it back under its number first."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from service.allocations import ServingTables
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


THEIRS = Target(2, "theirs", "bob")


@pytest.mark.parametrize("is_redis_there", [True, False])
async def test_no_other_experiment_gets_its_number(house: House, is_redis_there: bool) -> None:
    lost = house.tables.get(1, "spring")
    assert lost is not None
    house.published.is_down = not is_redis_there

    put, is_new = await house.experiments.put(THEIRS, AB)

    assert is_new
    assert put.number > lost.allocation.experiment
    table = house.tables.get(2, "theirs")
    assert table is not None
    assert table.experiment == put


async def test_what_an_earlier_attempt_left_under_its_number_is_taken_back(house: House) -> None:
    lost = house.tables.get(1, "spring")
    assert lost is not None
    half_made = replace(lost.experiment, tenant=2, id="theirs", salt=b"other" * 3)
    await house.store.create(replace(half_made, id="filler"), "bob")
    left = await house.store.create(half_made, "bob")
    assert left.number == lost.allocation.experiment

    put, is_new = await house.experiments.put(THEIRS, AB)

    assert is_new
    assert put.number > left.number
    assert (await house.tables.find(2, "theirs")).experiment == put
    acts = [entry.action for entry in await house.experiments.trail(2, "theirs")]
    assert acts == ["create", "discard", "create"]


class LateTables(ServingTables):
    """Hears of what is published only after it was asked once."""

    is_asked = False

    async def highest_number(self) -> int:
        """Return 0 the first time."""
        was_asked, self.is_asked = self.is_asked, True
        return await super().highest_number() if was_asked else 0


async def test_a_creation_under_its_number_is_made_anew(house: House) -> None:
    lost = house.tables.get(1, "spring")
    assert lost is not None
    await house.store.create(replace(lost.experiment, id="filler"), "bob")
    late = LateTables(house.stores, house.clock, house.metrics)
    experiments = dataclasses.replace(house.experiments, tables=late)

    put, is_new = await experiments.put(THEIRS, AB)

    assert is_new
    assert put.number > lost.allocation.experiment
    numbers = [each.number for each in await house.store.all()]
    assert lost.allocation.experiment not in numbers
