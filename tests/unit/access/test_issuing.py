"""Keys are made with 256 random bits, and only for what they may be used for."""

from __future__ import annotations

import re
import secrets

import pytest

from service.access import Issuing, Keyring, KeyWish
from service.domain.access import KEY_TEXT_PATTERN, Scope, digest_of, parts_of
from service.errors import InvalidInputError
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore
from tests.store_records import NOW_MS, HandClock

CHOOSE = frozenset({Scope.CHOOSE})


@pytest.fixture
def issuing() -> Issuing:
    return Issuing(
        store=MemoryApiKeyStore(MemoryActStore()),
        clock=HandClock(),
        token_bytes=secrets.token_bytes,
    )


async def test_a_new_key_opens_what_it_was_made_for(issuing: Issuing) -> None:
    wish = KeyWish(scopes=CHOOSE, tenant="shop", rate_max=7, expires_at_ms=NOW_MS + 1)
    key, text = await issuing.create(wish, "cli:ada")
    keyring = Keyring(issuing.store, issuing.clock, is_exposed=True)
    await keyring.reload()

    holder = keyring.authenticate(text)
    assert (holder.principal.tenant, holder.principal.scopes) == (2, CHOOSE)
    assert holder.limit is not None
    assert key.created_at_ms == NOW_MS


async def test_only_the_digest_of_its_secret_is_kept(issuing: Issuing) -> None:
    key, text = await issuing.create(KeyWish(scopes=CHOOSE), "cli:ada")

    parts = parts_of(text)
    assert parts is not None
    assert (parts[0], digest_of(parts[1])) == (key.id, key.digest)
    assert parts[1] not in str(await issuing.store.all())
    assert re.match(KEY_TEXT_PATTERN, text)


async def test_no_two_keys_are_alike(issuing: Issuing) -> None:
    made = {(await issuing.create(KeyWish(scopes=CHOOSE), "cli:ada"))[1] for _ in range(50)}

    assert len(made) == 50


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (KeyWish(scopes=frozenset()), "at least one scope"),
        (KeyWish(scopes=CHOOSE, tenant="Shop"), "starts with a letter"),
        (KeyWish(scopes=CHOOSE, tenant="s" * 41), "1 to 40"),
        (KeyWish(scopes=CHOOSE, tenant="shop\n"), "1 to 40"),
        (KeyWish(scopes=frozenset(Scope), tenant="shop"), "scope metrics shows the whole service"),
        (KeyWish(scopes=CHOOSE, name="x" * 101), "printable"),
        (KeyWish(scopes=CHOOSE, name="a\x1b[31m"), "printable"),
        (KeyWish(scopes=CHOOSE, expires_at_ms=NOW_MS), "later than now"),
        (KeyWish(scopes=CHOOSE, expires_at_ms=10**17), "before the year 10000"),
        (KeyWish(scopes=CHOOSE, rate_max=0), "a rate is from 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_key_that_makes_no_sense_is_refused(
    issuing: Issuing, wish: KeyWish, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        await issuing.create(wish, "cli:ada")

    assert await issuing.store.all() == []
    assert len(await issuing.store.tenants()) == 1


async def test_the_default_tenant_may_have_every_scope(issuing: Issuing) -> None:
    key, _ = await issuing.create(KeyWish(scopes=frozenset(Scope)), "cli:ada")

    assert key.scopes == frozenset(Scope)


async def test_a_tenants_keys_are_listed_by_its_name(issuing: Issuing) -> None:
    await issuing.create(KeyWish(scopes=CHOOSE), "cli:ada")
    key, _ = await issuing.create(KeyWish(scopes=CHOOSE, tenant="shop"), "cli:ada")

    assert await issuing.listed("shop") == [(key, "shop")]
    assert len(await issuing.listed()) == 2
    with pytest.raises(InvalidInputError):
        await issuing.listed("nobody")
