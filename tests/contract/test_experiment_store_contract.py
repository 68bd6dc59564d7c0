"""Every experiment store keeps all revisions, and who made them of what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.experiment import AuditEntry, Experiment, ExperimentState
from service.errors import ExperimentNotFoundError, RevisionConflictError, StateConflictError
from service.store.ports import ExperimentStore
from tests.sql_stores import BACKENDS, Backend, experiment, opened_backend, revised, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> ExperimentStore:
    return backend.stores.experiments


async def test_a_created_experiment_is_read_as_it_was_given(store: ExperimentStore) -> None:
    created = await store.create(experiment(), "ann")

    assert created == replace(experiment(), number=created.number)
    assert created.number > 0
    assert await store.get(1, "spring") == created
    assert await store.by_number(created.number) == created


async def test_an_id_is_given_once_per_tenant(store: ExperimentStore) -> None:
    first = await store.create(experiment(), "ann")
    other = await store.create(experiment(tenant=2), "bob")

    with pytest.raises(StateConflictError, match="exists already"):
        await store.create(experiment(), "ann")

    assert first.number != other.number
    assert await store.get(2, "spring") == other


async def test_every_revision_stays_readable(store: ExperimentStore) -> None:
    first = await store.create(experiment(), "ann")
    second = await store.update(revised(first, exploration_floor=0.05), "update", "bob")
    third = await store.update(revised(second, state=ExperimentState.PAUSED), "pause", "cy")

    assert await store.get(1, "spring") == third
    assert await store.by_number(first.number) == third
    assert await store.by_number(first.number, 1) == first
    assert await store.by_number(first.number, 2) == second


async def test_an_update_that_skips_or_repeats_a_revision_is_refused(
    store: ExperimentStore,
) -> None:
    first = await store.create(experiment(), "ann")

    for revision in (1, 3):
        with pytest.raises(RevisionConflictError):
            await store.update(replace(first, revision=revision), "update", "bob")

    assert await store.get(1, "spring") == first
    assert len(await store.trail(1, "spring")) == 1


async def test_of_concurrent_updates_exactly_one_wins(backend: Backend) -> None:
    first = await backend.stores.experiments.create(experiment(), "ann")
    stores = [backend.stores.experiments, backend.twin.experiments] * 3

    results = await asyncio.gather(
        *(
            store.update(revised(first, exploration_floor=0.01 * n), "update", "bob")
            for n, store in enumerate(stores, start=2)
        ),
        return_exceptions=True,
    )

    winners = [result for result in results if isinstance(result, Experiment)]
    assert [await backend.stores.experiments.get(1, "spring")] == winners
    assert sum(isinstance(result, RevisionConflictError) for result in results) == 5
    assert len(await backend.stores.experiments.trail(1, "spring")) == 2


async def test_unknown_experiments_are_named(store: ExperimentStore) -> None:
    first = await store.create(experiment(), "ann")

    with pytest.raises(ExperimentNotFoundError, match="no experiment"):
        await store.get(1, "autumn")
    with pytest.raises(ExperimentNotFoundError):
        await store.get(2, "spring")
    with pytest.raises(ExperimentNotFoundError):
        await store.by_number(first.number + 1)
    with pytest.raises(ExperimentNotFoundError):
        await store.by_number(first.number, 2)
    with pytest.raises(ExperimentNotFoundError):
        await store.update(experiment("autumn"), "update", "bob")


async def test_all_lists_the_newest_revisions_in_order_of_number(store: ExperimentStore) -> None:
    zebra = await store.create(experiment("zebra"), "ann")
    apple = await store.create(experiment("apple", tenant=2), "ann")
    zebra = await store.update(revised(zebra, exploration_floor=0.2), "update", "ann")

    assert await store.all() == [zebra, apple]
    assert await store.all(tenant=2) == [apple]
    assert await store.all(tenant=3) == []


async def test_the_trail_tells_who_changed_what(store: ExperimentStore) -> None:
    first = await store.create(experiment(), "ann")
    await store.create(experiment("other"), "ann")
    second = await store.update(revised(first, state=ExperimentState.PAUSED), "pause", "bob")

    assert await store.trail(1, "spring") == [
        AuditEntry(1, "spring", first.created_at_ms, "ann", "create", None, first),
        AuditEntry(1, "spring", second.updated_at_ms, "bob", "pause", first, second),
    ]
    assert await store.trail(2, "spring") == []


async def test_experiments_are_copies(store: ExperimentStore) -> None:
    given = experiment()
    created = await store.create(given, "ann")
    given.variants[0].payload["subject"] = "changed by the caller"

    (await store.get(1, "spring")).variants[0].payload["subject"] = "changed by a reader"
    (await store.all())[0].variants[0].payload["subject"] = "changed by a reader"
    (await store.trail(1, "spring"))[0].after.variants[0].payload["subject"] = "changed"

    assert (await store.get(1, "spring")).variants[0].payload["subject"] == "Hello"
    assert (await store.by_number(created.number)).variants[0].payload["subject"] == "Hello"
