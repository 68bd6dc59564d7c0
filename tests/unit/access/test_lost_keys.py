"""What SQL lost of API keys by failing over to an older state stays in force and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest
from msgspec import structs

from service.access import Keyring
from service.access.keyring import REREAD_MS
from service.domain.access import ApiKey, Scope, Tenant, digest_of, key_text
from service.errors import LedgerUnavailableError, UnauthenticatedError
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore
from tests.store_records import NOW_MS, HandClock

SECRET = "s" * 43
KEY = ApiKey(
    id="abcdefghijkl",
    digest=digest_of(SECRET),
    tenant=1,
    scopes=frozenset({Scope.CHOOSE}),
    name="shop",
    created_at_ms=NOW_MS,
)
OTHER = structs.replace(KEY, id="bbbbbbbbbbbb", created_at_ms=NOW_MS + 1)
TEXT = key_text(KEY.id, SECRET)


class Keys(MemoryApiKeyStore):
    """A store of keys that can go back to an older state, or take no writes."""

    def __init__(self) -> None:
        super().__init__(MemoryActStore())
        self.takes_writes = True

    def state(self) -> dict[str, object]:
        """Return a copy of what stands."""
        return deepcopy(self.__dict__)

    def fail_over(self, state: dict[str, object]) -> None:
        """Go back to what stood then."""
        self.__dict__.update(deepcopy(state))

    async def acts(self) -> list[tuple[str, str, str]]:
        """Return who did what to which key."""
        return [(a.actor, a.action, a.subject) for a in await self._acts.of_tenant(1, 100)]

    async def put_back(
        self, tenants: Sequence[Tenant], keys: Sequence[ApiKey], at_ms: int, actor: str
    ) -> list[str]:
        """Raise while it takes no writes."""
        if not self.takes_writes:
            raise LedgerUnavailableError("SQL takes no writes")
        return await super().put_back(tenants, keys, at_ms, actor)


class Rig:
    """Two processes over one store."""

    def __init__(self) -> None:
        self.store, self.clock = Keys(), HandClock()
        self.one, self.two = (Keyring(self.store, self.clock, is_exposed=True) for _ in range(2))

    async def reload(self, times: int = 2) -> None:
        """Let both processes look."""
        for _ in range(times):
            await self.one.reload()
            await self.two.reload()

    def is_refused(self) -> bool:
        """Whether neither process takes the key."""
        return not any(_takes(keyring) for keyring in (self.one, self.two))


def _takes(keyring: Keyring, text: str = TEXT) -> bool:
    try:
        keyring.authenticate(text)
    except UnauthenticatedError:
        return False
    return True


async def test_a_revocation_that_sql_lost_stays_and_is_written_again() -> None:
    rig = Rig()
    await rig.store.add(KEY, "cli:ada")
    older = rig.store.state()
    await rig.store.revoke(KEY.id, NOW_MS + 5, "cli:ada")
    await rig.reload()

    rig.store.fail_over(older)
    await rig.reload()

    assert rig.is_refused()
    assert [key.revoked_at_ms for key in await rig.store.all()] == [NOW_MS + 5]
    assert (await rig.store.acts())[1:] == [("service", "revoke key", KEY.id)]


async def test_a_key_that_sql_lost_goes_on_opening_and_is_put_back() -> None:
    rig = Rig()
    older = rig.store.state()
    await rig.store.add(KEY, "cli:ada")
    await rig.reload()

    rig.store.fail_over(older)
    await rig.reload()

    assert _takes(rig.one)
    assert _takes(rig.two)
    assert await rig.store.all() == [KEY]
    assert await rig.store.acts() == [("service", "put back key", KEY.id)]


async def test_what_sql_does_not_take_back_is_in_force_all_the_same_and_tried_again() -> None:
    rig = Rig()
    await rig.store.add(KEY, "cli:ada")
    older = rig.store.state()
    await rig.store.add(OTHER, "cli:ada")
    await rig.store.revoke(KEY.id, NOW_MS + 5, "cli:ada")
    await rig.reload()
    rig.store.fail_over(older)
    rig.store.takes_writes = False
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError):
            await rig.one.reload()

    assert not _takes(rig.one)
    assert _takes(rig.one, key_text(OTHER.id, SECRET))
    rig.store.takes_writes = True
    await rig.one.reload()
    assert {key.id: key.revoked_at_ms for key in await rig.store.all()} == {
        KEY.id: NOW_MS + 5,
        OTHER.id: None,
    }


async def test_a_process_that_missed_the_revocation_does_not_take_it_back() -> None:
    rig = Rig()
    older = rig.store.state()
    await rig.store.add(KEY, "cli:ada")
    await rig.reload()
    await rig.store.revoke(KEY.id, NOW_MS + 5, "cli:ada")
    await rig.two.reload()

    rig.store.fail_over(older)
    await rig.one.reload()  # It puts back the key as it was before it was revoked.
    await rig.two.reload()
    await rig.reload()

    assert rig.is_refused()
    assert [key.revoked_at_ms for key in await rig.store.all()] == [NOW_MS + 5]


async def test_a_key_revoked_after_the_failover_ends_revoked() -> None:
    rig = Rig()
    await rig.store.add(KEY, "cli:ada")
    older = rig.store.state()
    await rig.store.add(OTHER, "cli:ada")
    await rig.reload()

    rig.store.fail_over(older)
    await rig.store.revoke(KEY.id, NOW_MS + 5, "cli:ada")  # The revision is as it was before.
    await rig.reload()
    rig.clock.at_ms += REREAD_MS
    await rig.reload()

    assert rig.is_refused()
    found = {key.id: key.revoked_at_ms for key in await rig.store.all()}
    assert found == {KEY.id: NOW_MS + 5, OTHER.id: None}


async def test_a_tenant_that_sql_lost_keeps_its_number() -> None:
    rig = Rig()
    older = rig.store.state()
    shop = await rig.store.ensure_tenant("shop")
    await rig.store.add(structs.replace(KEY, tenant=shop.number), "cli:ada")
    await rig.reload()

    rig.store.fail_over(older)
    await rig.reload()

    assert (await rig.store.ensure_tenant("bank")).number != shop.number
    assert await rig.store.ensure_tenant("shop") == shop
    assert _takes(rig.one)


async def test_the_key_of_a_lost_tenant_never_opens_what_another_one_has() -> None:
    rig = Rig()
    older = rig.store.state()
    shop = await rig.store.ensure_tenant("shop")
    await rig.store.add(structs.replace(KEY, tenant=shop.number), "cli:ada")
    await rig.reload()

    rig.store.fail_over(older)
    assert (await rig.store.ensure_tenant("bank")).number == shop.number
    await rig.store.add(OTHER, "cli:ada")
    await rig.store.add(structs.replace(KEY, id="cccccccccccc"), "cli:ada")
    await rig.reload()

    assert rig.is_refused()
    assert KEY.id not in [key.id for key in await rig.store.all()]
