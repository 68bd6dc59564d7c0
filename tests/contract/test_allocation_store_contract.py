"""Every allocation store gives a version to exactly one allocator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sql_stores import BACKENDS, Backend, allocation, experiment, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


async def test_an_inserted_allocation_is_read_as_it_was_given(backend: Backend) -> None:
    created = await backend.stores.experiments.create(experiment(), "ann")
    store = backend.stores.allocations

    assert await store.insert(allocation(created, 1))

    assert await store.get(created.number, 1) == allocation(created, 1)
    assert await backend.twin.allocations.head(created.number) == allocation(created, 1)


async def test_the_head_is_the_highest_version(backend: Backend) -> None:
    one = await backend.stores.experiments.create(experiment("one"), "ann")
    two = await backend.stores.experiments.create(experiment("two"), "ann")
    await backend.stores.experiments.create(experiment("without"), "ann")
    store = backend.stores.allocations

    for of, version in [(one, 1), (two, 1), (one, 3), (one, 2)]:
        await store.insert(allocation(of, version))

    assert await store.head(one.number) == allocation(one, 3)
    assert await store.heads() == {one.number: 3, two.number: 1}
    assert await store.get(one.number, 2) == allocation(one, 2)


async def test_a_version_is_never_replaced(backend: Backend) -> None:
    created = await backend.stores.experiments.create(experiment(), "ann")
    store = backend.stores.allocations
    kept = allocation(created, 1)
    await store.insert(kept)

    assert not await store.insert(kept)
    assert not await store.insert(allocation(created, 1, reason="another"))

    assert await store.head(created.number) == kept


async def test_of_concurrent_inserts_of_one_version_exactly_one_wins(backend: Backend) -> None:
    created = await backend.stores.experiments.create(experiment(), "ann")
    stores = [backend.stores.allocations, backend.twin.allocations] * 4

    won = await asyncio.gather(
        *(
            store.insert(allocation(created, 1, reason=str(number)))
            for number, store in enumerate(stores)
        )
    )

    head = await backend.stores.allocations.head(created.number)
    assert sum(won) == 1
    assert head is not None
    assert head.reason == str(won.index(True))


async def test_what_is_not_there_is_none(backend: Backend) -> None:
    store = backend.stores.allocations

    assert await store.head(99) is None
    assert await store.get(99, 1) is None
    assert await store.heads() == {}
