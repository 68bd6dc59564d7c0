"""Every experiment store takes back what it lost, under its number, and never gives that twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.allocation import allocation_of
from service.domain.experiment import Experiment
from service.errors import ExperimentNotFoundError, StateConflictError
from service.store.ports import ExperimentStore
from tests.sql_stores import (
    BACKENDS,
    START_MS,
    Backend,
    experiment,
    opened_backend,
    revised,
    url_of,
)

LATER_MS = START_MS + 60_000


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> ExperimentStore:
    return backend.stores.experiments


def lost(number: int, revision: int = 1) -> Experiment:
    return replace(experiment("lost"), number=number, revision=revision)


async def actions(store: ExperimentStore, name: str) -> list[tuple[str, str, int]]:
    entries = await store.trail(1, name)
    return [(entry.actor, entry.action, entry.at_ms) for entry in entries]


async def test_a_lost_experiment_comes_back_under_its_number(store: ExperimentStore) -> None:
    assert await store.adopt(lost(5, revision=3), "worker", LATER_MS)

    assert await store.get(1, "lost") == lost(5, revision=3)
    assert await store.by_number(5) == lost(5, revision=3)
    assert await actions(store, "lost") == [("worker", "adopt", LATER_MS)]


async def test_a_new_experiment_never_gets_an_adopted_number(store: ExperimentStore) -> None:
    await store.create(experiment("before"), "ann")
    await store.adopt(lost(3), "worker", LATER_MS)

    made = [(await store.create(experiment(f"after-{i}"), "ann")).number for i in range(3)]

    assert min(made) > 3
    assert len(set(made)) == 3


async def test_reserved_numbers_are_not_given(store: ExperimentStore) -> None:
    await store.reserve_numbers(40)
    first = await store.create(experiment("first"), "ann")
    await store.reserve_numbers(10)
    second = await store.create(experiment("second"), "ann")

    assert 40 < first.number < second.number


async def test_a_creation_gets_a_number_above_the_one_named(store: ExperimentStore) -> None:
    first = await store.create(experiment("first"), "ann", above=40)
    second = await store.create(experiment("second"), "ann", above=7)
    third = await store.create(experiment("third"), "ann", above=42)

    assert [each.number for each in (first, second, third)] == [41, 42, 43]


async def test_a_creation_is_taken_back_and_its_number_with_it(store: ExperimentStore) -> None:
    first = await store.create(experiment("spring"), "ann")

    assert await store.discard(first, "ann", LATER_MS)
    assert not await store.discard(first, "ann", LATER_MS)

    with pytest.raises(ExperimentNotFoundError):
        await store.get(1, "spring")
    with pytest.raises(ExperimentNotFoundError):
        await store.by_number(first.number, 1)
    again = await store.create(experiment("spring"), "ann")
    assert again.number > first.number
    acts = [action for _, action, _ in await actions(store, "spring")]
    assert acts == ["create", "discard", "create"]


async def test_what_is_another_ones_or_was_allocated_is_not_taken_back(backend: Backend) -> None:
    store = backend.stores.experiments
    first = await store.create(experiment("spring"), "ann")
    is_other = await store.discard(replace(first, id="other"), "ann", LATER_MS)
    allocation = allocation_of(first, 1, (2**31, 2**31), START_MS, "create")
    await backend.stores.allocations.insert(allocation)
    await store.update(revised(first), "update", "ann")  # Memory knows it by this.

    assert not is_other
    assert not await store.discard(first, "ann", LATER_MS)
    assert (await store.get(1, "spring")).number == first.number


async def test_who_adopts_at_the_same_time_as_others_loses_quietly(backend: Backend) -> None:
    stores = (backend.stores.experiments, backend.twin.experiments)
    await stores[0].create(experiment("earlier"), "ann")
    for number in range(10, 30):
        mine = replace(experiment(f"lost-{number}"), number=number, revision=2)
        adopted = await asyncio.gather(*(s.adopt(mine, "worker", LATER_MS) for s in stores * 2))

        assert sorted(adopted) == [False, False, False, True]


async def test_adoptions_and_creations_at_once_give_no_number_twice(backend: Backend) -> None:
    stores = (backend.stores.experiments, backend.twin.experiments)
    await stores[0].reserve_numbers(107)
    made = await asyncio.gather(
        *(stores[i % 2].create(experiment(f"new-{i}"), "ann", above=i % 3 * 20) for i in range(12)),
        *(stores[n % 2].adopt(replace(lost(n), id=f"old-{n}"), "w", 0) for n in range(100, 108)),
    )

    standing = await stores[0].all()
    assert len(standing) == 20
    assert sum(each is True for each in made) == 8


async def test_adopting_again_changes_nothing(store: ExperimentStore) -> None:
    await store.adopt(lost(5), "worker", LATER_MS)

    assert not await store.adopt(lost(5), "worker", LATER_MS + 1)

    assert len(await actions(store, "lost")) == 1


async def test_a_lost_revision_follows_the_one_that_stands(store: ExperimentStore) -> None:
    first = await store.create(experiment("spring"), "ann")
    second = revised(first, exploration_floor=0.02)

    assert await store.adopt(second, "worker", LATER_MS)

    assert await store.get(1, "spring") == second
    entry = (await store.trail(1, "spring"))[-1]
    assert (entry.action, entry.before, entry.after) == ("adopt", first, second)


async def test_a_missing_older_revision_is_filled_in_quietly(store: ExperimentStore) -> None:
    first = await store.create(experiment("spring"), "ann")
    second, third = revised(first, exploration_floor=0.02), revised(first, revision=3)
    await store.adopt(third, "worker", LATER_MS)

    assert await store.adopt(second, "worker", LATER_MS)

    assert await store.by_number(first.number, 2) == second
    assert await store.get(1, "spring") == third


async def test_a_change_made_after_the_loss_prevails_as_the_next_revision(
    store: ExperimentStore,
) -> None:
    first = await store.create(experiment("spring"), "ann")
    gone = revised(first, exploration_floor=0.02)
    made_since = await store.update(revised(first, exploration_floor=0.03), "update", "ann")

    assert await store.adopt(gone, "worker", LATER_MS)
    assert not await store.adopt(gone, "worker", LATER_MS)

    assert await store.get(1, "spring") == replace(made_since, revision=3)
    assert await store.by_number(first.number, 2) == made_since


@pytest.mark.parametrize("field", ["id", "number", "salt"])
async def test_the_place_of_another_experiment_is_not_taken(
    store: ExperimentStore, field: str
) -> None:
    taken = await store.create(experiment("spring"), "ann")
    other = {"id": "other", "number": taken.number + 7, "salt": b"\x01" * 16}
    stranger = replace(taken, revision=2, **{field: other[field]})

    with pytest.raises(StateConflictError):
        await store.adopt(stranger, "worker", LATER_MS)

    assert await store.all() == [taken]
