"""Every store of API keys keeps each key, its revocation and both acts, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from service.domain.access import ALL_SCOPES, ApiKey, Scope, Tenant, digest_of
from service.errors import StateConflictError
from tests.sql_stores import BACKENDS, START_MS, Backend, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


def a_key(key_id: str = "abcdefghijkl", *, later_ms: int = 0, **fields: object) -> ApiKey:
    key = ApiKey(
        id=key_id,
        digest=digest_of("hush"),
        tenant=1,
        scopes=frozenset({Scope.REWARD, Scope.CHOOSE}),
        name="Shop Größe",
        created_at_ms=START_MS + later_ms,
    )
    return structs.replace(key, **fields)


async def test_the_first_tenant_is_default(backend: Backend) -> None:
    assert await backend.stores.api_keys.tenants() == [Tenant(1, "default")]
    assert await backend.stores.api_keys.ensure_tenant("default") == Tenant(1, "default")


async def test_processes_that_make_one_tenant_together_get_the_same(backend: Backend) -> None:
    stores = [backend.stores.api_keys, backend.twin.api_keys] * 3

    made = await asyncio.gather(*(store.ensure_tenant("shop") for store in stores))

    assert len(set(map(str, made))) == 1
    assert await backend.twin.api_keys.tenants() == [Tenant(1, "default"), made[0]]


async def test_a_key_comes_back_as_it_was_added(backend: Backend) -> None:
    whole = a_key(expires_at_ms=START_MS + 9, rate_max=2**33, scopes=ALL_SCOPES)
    plain = a_key("bbbbbbbbbbbb", later_ms=-5, name="")
    await backend.stores.api_keys.add(whole, "cli:ada")
    await backend.stores.api_keys.add(plain, "cli:ada")

    assert await backend.twin.api_keys.all() == [plain, whole]


async def test_an_id_is_taken_for_good(backend: Backend) -> None:
    store = backend.stores.api_keys
    await store.add(a_key(), "cli:ada")
    await store.revoke(a_key().id, START_MS + 1, "cli:ada")

    with pytest.raises(StateConflictError):
        await store.add(a_key(name="another"), "cli:eve")

    assert [key.name for key in await store.all()] == ["Shop Größe"]
    assert len(await backend.stores.acts.of_tenant(1, 10)) == 2


async def test_a_key_is_revoked_once(backend: Backend) -> None:
    await backend.stores.api_keys.add(a_key(), "cli:ada")
    stores = [backend.stores.api_keys, backend.twin.api_keys] * 3

    answers = await asyncio.gather(
        *(store.revoke(a_key().id, START_MS + n, "cli:ada") for n, store in enumerate(stores))
    )

    assert sum(answers) == 1
    (key,) = await backend.stores.api_keys.all()
    assert key.revoked_at_ms == START_MS + answers.index(True)
    assert len(await backend.stores.acts.of_tenant(1, 10)) == 2


async def test_nobody_revokes_a_key_that_is_not_there(backend: Backend) -> None:
    assert not await backend.stores.api_keys.revoke("zzzzzzzzzzzz", START_MS, "cli:ada")

    assert await backend.stores.acts.of_tenant(1, 10) == []


async def test_every_change_of_keys_raises_the_revision(backend: Backend) -> None:
    store, seen = backend.stores.api_keys, [await backend.twin.api_keys.revision()]
    for change in (
        store.add(a_key(), "cli:ada"),
        store.revoke(a_key().id, START_MS + 1, "cli:ada"),
        store.add(a_key("bbbbbbbbbbbb"), "cli:ada"),
    ):
        await change
        seen.append(await backend.twin.api_keys.revision())

    assert seen == sorted(set(seen))


async def test_a_use_changes_no_revision(backend: Backend) -> None:
    store = backend.stores.api_keys
    await store.add(a_key(), "cli:ada")
    before = await store.revision()

    await store.touch({a_key().id: START_MS + 7})

    assert await store.revision() == before


async def test_the_last_use_never_goes_back(backend: Backend) -> None:
    used = {"abcdefghijkl": START_MS + 50, "bbbbbbbbbbbb": START_MS + 10, "unknown": START_MS}
    for key_id in ("abcdefghijkl", "bbbbbbbbbbbb", "cccccccccccc"):
        await backend.stores.api_keys.add(a_key(key_id), "cli:ada")
    await backend.stores.api_keys.touch(used)
    await backend.twin.api_keys.touch(
        {"abcdefghijkl": START_MS + 20, "bbbbbbbbbbbb": START_MS + 30}
    )
    await backend.twin.api_keys.touch({})

    found = {key.id: key.last_used_at_ms for key in await backend.stores.api_keys.all()}
    assert found == {
        "abcdefghijkl": START_MS + 50,
        "bbbbbbbbbbbb": START_MS + 30,
        "cccccccccccc": None,
    }


async def test_the_trail_tells_who_made_and_revoked_a_key_but_no_secret(backend: Backend) -> None:
    shop = await backend.stores.api_keys.ensure_tenant("shop")
    await backend.stores.api_keys.add(a_key(tenant=shop.number, rate_max=5), "cli:ada")
    await backend.stores.api_keys.revoke(a_key().id, START_MS + 1, "cli:eve")

    made, revoked = await backend.twin.acts.of_tenant(shop.number, 10)
    assert (made.actor, made.action, made.subject) == ("cli:ada", "create key", a_key().id)
    assert made.detail == {
        "name": "Shop Größe",
        "scopes": ["choose", "reward"],
        "expires_at_ms": None,
        "rate_max": 5,
    }
    assert (revoked.actor, revoked.action, revoked.at_ms) == ("cli:eve", "revoke key", START_MS + 1)
    assert await backend.stores.acts.of_tenant(1, 10) == []


async def test_what_was_lost_is_put_back_once_by_however_many(backend: Backend) -> None:
    shop = Tenant(5, "shop")
    lost = [
        a_key(tenant=5, rate_max=7),
        a_key("bbbbbbbbbbbb", later_ms=1, tenant=5, revoked_at_ms=START_MS + 2),
    ]
    stores = [backend.stores.api_keys, backend.twin.api_keys] * 2

    changed = await asyncio.gather(
        *(store.put_back([shop], lost, START_MS + 9, "service") for store in stores)
    )

    assert sorted(key_id for each in changed for key_id in each) == [key.id for key in lost]
    assert await backend.twin.api_keys.all() == lost
    acts = await backend.twin.acts.of_tenant(5, 10)
    assert [(act.actor, act.action, act.at_ms) for act in acts] == [
        ("service", "put back key", START_MS + 9)
    ] * 2
    assert acts[1].detail["revoked_at_ms"] == START_MS + 2


async def test_a_new_tenant_never_gets_the_number_of_one_that_was_put_back(
    backend: Backend,
) -> None:
    await backend.stores.api_keys.put_back([Tenant(2, "shop")], [], START_MS, "service")

    assert (await backend.twin.api_keys.ensure_tenant("bank")).number > 2
    assert (await backend.twin.api_keys.ensure_tenant("shop")).number == 2


async def test_a_revocation_that_was_lost_is_written_again(backend: Backend) -> None:
    store = backend.stores.api_keys
    await store.add(a_key(), "cli:ada")
    before = await store.revision()
    revoked = a_key(revoked_at_ms=START_MS + 1)

    changed = [await store.put_back([], [revoked], START_MS + n, "service") for n in (8, 9)]

    assert changed == [[revoked.id], []]
    assert await backend.twin.api_keys.all() == [revoked]
    assert await store.revision() > before
    act = (await backend.stores.acts.of_tenant(1, 10))[-1]
    assert (act.actor, act.action, act.at_ms) == ("service", "revoke key", START_MS + 8)


async def test_whoever_missed_a_revocation_does_not_take_it_back(backend: Backend) -> None:
    store = backend.stores.api_keys
    await store.add(a_key(), "cli:ada")
    await store.revoke(a_key().id, START_MS + 1, "cli:ada")

    assert await store.put_back([], [a_key(name="of old")], START_MS + 2, "service") == []
    assert await store.all() == [a_key(revoked_at_ms=START_MS + 1)]


@pytest.mark.parametrize("lost", [Tenant(2, "bank"), Tenant(3, "shop")])
async def test_keys_of_a_tenant_that_became_another_one_stay_lost(
    backend: Backend, lost: Tenant
) -> None:
    store = backend.stores.api_keys
    assert await store.ensure_tenant("shop") == Tenant(2, "shop")
    key = a_key(tenant=lost.number)

    assert await store.put_back([lost], [key], START_MS, "service") == []
    assert await store.all() == []
    assert await store.tenants() == [Tenant(1, "default"), Tenant(2, "shop")]
