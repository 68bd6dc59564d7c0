"""Every lease store gives a lease to one holder at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sql_stores import BACKENDS, Backend, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


async def test_a_lease_has_one_holder(backend: Backend) -> None:
    one, other = backend.stores.leases, backend.twin.leases

    assert await one.acquire("allocator", "a", 60)
    assert not await other.acquire("allocator", "b", 60)
    assert await other.acquire("snapshots", "b", 60)


async def test_its_holder_may_renew_a_lease(backend: Backend) -> None:
    one, other = backend.stores.leases, backend.twin.leases

    assert await one.acquire("allocator", "a", 0.01)
    assert await one.acquire("allocator", "a", 60)
    await asyncio.sleep(0.05)

    assert not await other.acquire("allocator", "b", 60)


async def test_an_expired_lease_is_taken_over(backend: Backend) -> None:
    one, other = backend.stores.leases, backend.twin.leases
    await one.acquire("allocator", "a", 0.05)
    await asyncio.sleep(0.15)

    assert await other.acquire("allocator", "b", 60)
    assert not await one.acquire("allocator", "a", 60)


async def test_only_its_holder_gives_a_lease_back(backend: Backend) -> None:
    one, other = backend.stores.leases, backend.twin.leases
    await one.acquire("allocator", "a", 60)

    await other.release("allocator", "b")
    assert not await other.acquire("allocator", "b", 60)
    await one.release("allocator", "a")
    await one.release("unknown", "a")

    assert await other.acquire("allocator", "b", 60)


async def test_of_many_who_ask_at_once_one_gets_the_lease(backend: Backend) -> None:
    stores = [backend.stores.leases, backend.twin.leases] * 4

    answers = await asyncio.gather(
        *(store.acquire("allocator", f"holder-{n}", 60) for n, store in enumerate(stores))
    )

    assert sum(answers) == 1
