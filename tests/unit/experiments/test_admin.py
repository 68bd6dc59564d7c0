"""Acts are audited, survive others' acts, and are in force when they are answered."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from msgspec.structs import replace

from service.api.dependencies import Services
from service.domain.allocation import Publication
from service.domain.experiment import Experiment, Variant
from service.errors import (
    ExperimentNotFoundError,
    InvalidInputError,
    LedgerUnavailableError,
    RevisionConflictError,
)
from service.experiments import Act, Definition, Target, VariantAct
from service.experiments.admin import ATTEMPTS_MAX
from tests.fakes import House

TARGET = Target(1, "spring", "ada")
AB = Definition(variants=(Variant("a"), Variant("b")))


@pytest.fixture
def house() -> House:
    return House()


class InterruptedAllocator:
    """Fails the first time, as when SQL goes away between two transactions."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.calls = 0

    async def reallocate(self, experiment: Experiment, reason: str) -> Publication:
        """Raise the first time."""
        self.calls += 1
        if self.calls == 1:
            raise LedgerUnavailableError("SQL is down")
        return await self._house.allocator.reallocate(experiment, reason)


async def test_a_new_experiment_is_served_at_once(house: House) -> None:
    created, is_new = await house.experiments.put(TARGET, AB)

    table = house.tables.get(1, "spring")
    assert is_new
    assert table is not None
    assert table.experiment == created
    assert table.allocation.version == 1


async def test_every_experiment_has_a_salt_of_its_own(house: House) -> None:
    one, _ = await house.experiments.put(TARGET, AB)
    other, _ = await house.experiments.put(TARGET._replace(experiment_id="autumn"), AB)

    assert one.salt != other.salt


async def test_the_same_definition_makes_neither_revision_nor_version(house: House) -> None:
    await house.experiments.put(TARGET, AB)

    again, is_new = await house.experiments.put(TARGET, AB)

    table = house.tables.get(1, "spring")
    assert (again.revision, is_new) == (1, False)
    assert table is not None
    assert table.allocation.version == 1


async def test_an_act_is_in_force_when_it_is_answered(house: House) -> None:
    await house.experiments.put(TARGET, AB)

    await house.experiments.act_on_variant(TARGET, "b", VariantAct.PAUSE)

    table = house.tables.get(1, "spring")
    assert table is not None
    assert table.allocation.propensities == (1.0, 0.0)


async def test_every_act_is_in_the_trail_with_its_before_and_after(house: House) -> None:
    created, _ = await house.experiments.put(TARGET, AB)
    house.clock.at_ms += 1_000
    paused = await house.experiments.act(TARGET._replace(actor="bob"), Act.PAUSE)
    retired = await house.experiments.act_on_variant(TARGET, "b", VariantAct.RETIRE)

    trail = await house.experiments.trail(1, "spring")

    assert [(e.actor, e.action) for e in trail] == [
        ("ada", "create"),
        ("bob", "pause"),
        ("ada", "retire b"),
    ]
    assert [e.before for e in trail] == [None, created, paused]
    assert [e.after for e in trail] == [created, paused, retired]
    assert trail[1].at_ms == house.clock.at_ms


async def test_an_act_starts_again_from_what_somebody_else_made(house: House) -> None:
    await house.experiments.put(TARGET, AB)
    house.store.losses = 2

    paused = await house.experiments.act(TARGET, Act.PAUSE)

    assert (paused.revision, paused.exploration_floor) == (4, 0.0025)


async def test_an_act_gives_up_when_others_never_stop(house: House) -> None:
    await house.experiments.put(TARGET, AB)
    house.store.losses = ATTEMPTS_MAX
    with pytest.raises(RevisionConflictError):
        await house.experiments.act(TARGET, Act.PAUSE)


async def test_many_creations_at_once_make_one_experiment(house: House) -> None:
    made = await asyncio.gather(*(house.experiments.put(TARGET, AB) for _ in range(20)))

    assert [is_new for _, is_new in made].count(True) == 1
    assert {experiment.revision for experiment, _ in made} == {1}


async def test_a_creation_that_somebody_else_won_is_an_update_of_theirs(house: House) -> None:
    house.store.is_creation_lost = True

    experiment, is_new = await house.experiments.put(TARGET, AB)

    assert (experiment.revision, experiment.exploration_floor, is_new) == (2, 0.01, False)


async def test_many_acts_at_once_all_count(house: House) -> None:
    variants = tuple(Variant(f"v{i}") for i in range(5))
    await house.experiments.put(TARGET, Definition(variants=variants))

    await asyncio.gather(
        *(house.experiments.act_on_variant(TARGET, f"v{i}", VariantAct.PAUSE) for i in range(1, 5))
    )

    table = house.tables.get(1, "spring")
    assert table is not None
    assert table.allocation.propensities == (1.0, 0.0, 0.0, 0.0, 0.0)


async def test_an_act_repeated_puts_in_force_what_was_only_stored(house: House) -> None:
    await house.experiments.put(TARGET, AB)
    broken = InterruptedAllocator(house)
    house.services = replace_reallocate(house, broken)
    with pytest.raises(LedgerUnavailableError):
        await house.experiments.act(TARGET, Act.PAUSE)

    repeated = await house.experiments.act(TARGET, Act.PAUSE)

    table = house.tables.get(1, "spring")
    assert repeated.revision == 2
    assert table is not None
    assert table.allocation.revision == 2


async def test_a_newer_configuration_is_served_with_its_own_allocation(house: House) -> None:
    created, _ = await house.experiments.put(TARGET, AB)
    newer = replace(created, revision=2, variants=(*created.variants, Variant("c")))
    await house.store.update(newer, "update", "somebody-else")
    publication = await house.allocator.reallocate(newer, "update")

    await house.experiments._put_in_force(created, "somebody-else", "late")

    table = house.tables.get(1, "spring")
    assert publication.allocation.revision == 2
    assert table is not None
    assert table.variant_ids == ("a", "b", "c")


async def test_pages_follow_one_another(house: House) -> None:
    for name in "abcde":
        await house.experiments.put(TARGET._replace(experiment_id=name), AB)

    first, after = await house.experiments.page(1, None, 2)
    second, after_second = await house.experiments.page(1, after, 2)
    third, end = await house.experiments.page(1, after_second, 2)

    assert [[e.id for e in page] for page in (first, second, third)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert end is None


async def test_a_page_behind_an_unknown_id_is_refused(house: House) -> None:
    with pytest.raises(InvalidInputError):
        await house.experiments.page(1, "nobody", 2)


async def test_another_tenant_sees_nothing_of_it(house: House) -> None:
    await house.experiments.put(TARGET, AB)
    with pytest.raises(ExperimentNotFoundError):
        await house.experiments.trail(2, "spring")


def replace_reallocate(house: House, allocator: InterruptedAllocator) -> Services:
    """Return the house's services with another allocator."""
    experiments = dataclasses.replace(house.experiments, reallocate=allocator.reallocate)
    return dataclasses.replace(house.services, experiments=experiments)
