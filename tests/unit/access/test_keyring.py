"""The keyring knows each key's holder, and refuses everybody else in the same words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from service.access import Holder, Keyring
from service.access.keyring import REREAD_MS
from service.domain.access import (
    ALL_SCOPES,
    OPEN_PRINCIPAL,
    ApiKey,
    Principal,
    Scope,
    digest_of,
    key_text,
)
from service.errors import LedgerUnavailableError, UnauthenticatedError, UnavailableError
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore
from tests.store_records import NOW_MS, HandClock

SECRET = "s" * 43
KEY = ApiKey(
    id="abcdefghijkl",
    digest=digest_of(SECRET),
    tenant=3,
    scopes=frozenset({Scope.CHOOSE}),
    name="shop",
    created_at_ms=NOW_MS,
)
TEXT = key_text(KEY.id, SECRET)


class Keys(MemoryApiKeyStore):
    """A store of keys that can be away, and counts how often all keys were read."""

    def __init__(self) -> None:
        super().__init__(MemoryActStore())
        self.is_away = False
        self.reads = 0

    async def revision(self) -> int:
        """Raise while it is away."""
        if self.is_away:
            raise LedgerUnavailableError("SQL is away")
        return await super().revision()

    async def all(self) -> list[ApiKey]:
        """Count."""
        self.reads += 1
        return await super().all()


class Rig:
    """A keyring over a store, at a time that stands still."""

    def __init__(self, *, is_exposed: bool = False, processes: int = 1) -> None:
        self.store, self.clock = Keys(), HandClock()
        self.keyring = Keyring(self.store, self.clock, is_exposed=is_exposed, processes=processes)

    async def add(self, **fields: object) -> None:
        """Make a key and let the keyring know."""
        await self.store.add(structs.replace(KEY, **fields), "cli:ada")
        await self.keyring.reload()

    def shown(self, text: str = TEXT) -> Holder:
        """Return who shows a key."""
        return self.keyring.authenticate(text)


async def test_who_shows_a_key_acts_as_its_tenant_with_its_scopes() -> None:
    rig = Rig()
    await rig.add()

    principal = rig.shown().principal
    assert principal == Principal(3, frozenset({Scope.CHOOSE}), KEY.id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pb_",
        SECRET,
        TEXT + "s",
        TEXT[:-1],
        TEXT + "\n",
        " " + TEXT,
        TEXT.replace("pb", "PB"),
        key_text(KEY.id, "t" * 43),
        key_text(KEY.id, "s" * 42 + "\u0455"),
        key_text(KEY.id, "s" * 42 + "\ud800"),
        key_text("zzzzzzzzzzzz", SECRET),
        key_text(KEY.id.upper(), SECRET),
    ],
    ids=ascii,
)
async def test_anything_but_the_key_is_refused_in_the_same_words(text: str) -> None:
    rig = Rig()
    await rig.add()

    with pytest.raises(UnauthenticatedError, match=r"^show a valid API key$"):
        rig.shown(text)


async def test_a_key_ends_at_its_time() -> None:
    rig = Rig()
    await rig.add(expires_at_ms=NOW_MS + 10)
    rig.clock.at_ms = NOW_MS + 9
    rig.shown()
    rig.clock.at_ms = NOW_MS + 10

    with pytest.raises(UnauthenticatedError, match=r"^show a valid API key$"):
        rig.shown()


async def test_a_revoked_key_is_refused_from_the_next_load_on() -> None:
    rig = Rig()
    await rig.add()
    await rig.store.revoke(KEY.id, NOW_MS, "cli:ada")
    await rig.keyring.reload()

    with pytest.raises(UnauthenticatedError, match=r"^show a valid API key$"):
        rig.shown()


async def test_without_any_key_everybody_is_let_in() -> None:
    rig = Rig()
    await rig.keyring.reload()

    assert rig.keyring.open_principal() == OPEN_PRINCIPAL
    assert OPEN_PRINCIPAL.scopes == ALL_SCOPES


async def test_an_exposed_process_is_never_open() -> None:
    rig = Rig(is_exposed=True)
    await rig.keyring.reload()

    assert rig.keyring.open_principal() is None


@pytest.mark.parametrize("end", [{"revoked_at_ms": NOW_MS}, {"expires_at_ms": NOW_MS}])
async def test_a_key_that_has_ended_still_closes_the_service(end: dict[str, int]) -> None:
    rig = Rig()
    await rig.add(**end)

    assert rig.keyring.open_principal() is None


async def test_a_ledger_that_forgot_the_keys_does_not_open_the_service() -> None:
    rig = Rig()
    await rig.add()
    rig.keyring.take([], 0)

    assert rig.keyring.open_principal() is None
    with pytest.raises(UnauthenticatedError):
        rig.shown()


async def test_before_the_first_load_nobody_is_told_that_a_key_is_wrong() -> None:
    rig = Rig()

    assert not rig.keyring.is_loaded
    with pytest.raises(UnavailableError):
        rig.keyring.open_principal()
    with pytest.raises(UnavailableError):
        rig.shown()


async def test_keys_are_read_only_when_they_changed() -> None:
    rig = Rig()
    await rig.add()
    reloads = [await rig.keyring.reload() for _ in range(5)]

    assert (reloads, rig.store.reads) == ([False] * 5, 1)


async def test_after_a_minute_they_are_read_all_the_same() -> None:
    rig = Rig()
    await rig.add()
    rig.clock.at_ms += REREAD_MS

    assert await rig.keyring.reload()


async def test_what_is_held_stays_while_sql_is_away() -> None:
    rig = Rig()
    await rig.add()
    rig.store.is_away = True
    with pytest.raises(LedgerUnavailableError):
        await rig.keyring.reload()

    assert rig.shown().principal.tenant == 3


async def test_a_limit_outlives_a_reload() -> None:
    rig = Rig()
    await rig.add(rate_max=10)
    before = rig.shown().limit
    await rig.add(id="bbbbbbbbbbbb")

    assert before is not None
    assert rig.shown().limit is before


async def test_processes_share_out_a_rate_among_them() -> None:
    rig = Rig(processes=4)
    await rig.add(rate_max=200)
    limit = rig.shown().limit
    assert limit is not None
    limit.take(51)

    rig.clock.at_ms += 20  # One of the 50 a second that are its own.

    with pytest.raises(Exception, match="rate limit"):
        limit.take(1)


async def test_the_last_use_is_written_once() -> None:
    rig = Rig()
    await rig.add()
    await rig.add(id="bbbbbbbbbbbb", created_at_ms=NOW_MS + 1)
    rig.clock.at_ms = NOW_MS + 500
    rig.shown()
    await rig.keyring.flush_used()
    await rig.store.touch({KEY.id: NOW_MS + 900})  # Another process saw it later.
    await rig.keyring.flush_used()

    assert [key.last_used_at_ms for key in await rig.store.all()] == [NOW_MS + 900, None]


async def test_a_refused_secret_is_no_use_of_the_key() -> None:
    rig = Rig()
    await rig.add()
    with pytest.raises(UnauthenticatedError):
        rig.shown(key_text(KEY.id, "t" * 43))
    await rig.keyring.flush_used()

    (key,) = await rig.store.all()
    assert key.last_used_at_ms is None


@given(
    st.text(alphabet=st.characters(), max_size=80)
    | st.tuples(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)), st.text(max_size=5)).map(
        lambda cut: TEXT[: cut[0]] + cut[2] + TEXT[cut[1] :]
    )
)
async def test_whatever_is_shown_it_is_the_key_or_refused(text: str) -> None:
    rig = Rig()
    with pytest.raises((UnauthenticatedError, UnavailableError)):
        rig.keyring.authenticate(text)
    await rig.add()

    if text == TEXT:
        assert rig.shown(text).key == KEY
    else:
        with pytest.raises(UnauthenticatedError):
            rig.shown(text)
