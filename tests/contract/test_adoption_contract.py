"""Every experiment store takes back what it lost, under its number, and never gives that twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.experiment import Experiment
from service.errors import StateConflictError
from service.store.ports import ExperimentStore
from tests.sql_stores import BACKENDS, START_MS, experiment, opened_backend, revised, url_of

LATER_MS = START_MS + 60_000


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ExperimentStore]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend.stores.experiments


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
