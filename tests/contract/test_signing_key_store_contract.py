"""Every signing key store gives all processes the same secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.domain.clock import HOUR_MS
from service.domain.token import SECRET_BYTES, SigningKey
from tests.sql_stores import BACKENDS, Backend, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


async def test_processes_that_start_together_agree_on_the_first_key(backend: Backend) -> None:
    stores = [backend.stores.signing_keys, backend.twin.signing_keys] * 4

    found = await asyncio.gather(*(store.keys() for store in stores))

    (key,) = found[0]
    assert all(keys == [key] for keys in found)
    assert (key.id, key.active_from_ms, len(key.secret)) == (1, 0, SECRET_BYTES)


async def test_keys_come_oldest_first(backend: Backend) -> None:
    store = backend.stores.signing_keys
    (first,) = await store.keys()
    late, early = SigningKey(2, b"\x00" * 32, 9_000), SigningKey(3, b"\xff" * 32, 5_000)

    assert await store.add(late)
    assert await store.add(early)

    assert await backend.twin.signing_keys.keys() == [first, early, late]


async def test_an_id_is_taken_once(backend: Backend) -> None:
    store = backend.stores.signing_keys
    (first,) = await store.keys()

    assert not await store.add(SigningKey(1, b"\x01" * 32, 1))

    assert await store.keys() == [first]


async def test_the_time_is_the_stores_own_and_goes_on(backend: Backend) -> None:
    store = backend.stores.signing_keys
    before = await store.now_ms()

    assert before <= await store.now_ms() < before + HOUR_MS
