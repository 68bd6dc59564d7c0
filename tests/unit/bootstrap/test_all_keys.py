"""An API process starts from the copy of the keys when SQL cannot be asked, and keeps it new."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from msgspec import structs

from service.access import Keyring
from service.bootstrap.keys import AllKeys, Keys
from service.domain.access import ApiKey, Scope, Tenant, digest_of, key_text
from service.errors import LedgerUnavailableError, UnauthenticatedError, UnavailableError
from service.store.access_ports import HeldKeys
from service.store.key_cache import KEY_CACHE, KeyCacheFile
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore
from service.store.memory_sql import MemorySigningKeyStore
from tests.store_records import NOW_MS, HandClock

SECRET = "s" * 43
KEY = ApiKey(
    id="abcdefghijkl",
    digest=digest_of(SECRET),
    tenant=1,
    scopes=frozenset({Scope.CHOOSE}),
    name="",
    created_at_ms=NOW_MS,
)
TEXT = key_text(KEY.id, SECRET)


class Place:
    """What processes share: the stores and the directory of the outbox."""

    def __init__(self, directory: Path) -> None:
        acts = MemoryActStore()
        self.api_keys = MemoryApiKeyStore(acts)
        self.clock = HandClock()
        self.signing_keys = MemorySigningKeyStore(self.clock, acts)
        self.directory = directory

    def process(self) -> AllKeys:
        """Return the keys of a process that has just started."""
        return AllKeys(
            Keys(self.signing_keys, self.clock),
            Keyring(self.api_keys, self.clock, is_exposed=False),
            KeyCacheFile(self.directory, "sqlite:////ledger.db"),
        )

    def copy(self) -> HeldKeys | None:
        """Return what stands beside the outbox."""
        return self.process().cache.load()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "outbox")


async def test_a_process_that_cannot_ask_sql_knows_what_the_one_before_knew(place: Place) -> None:
    await place.api_keys.add(KEY, "cli:ada")
    before = place.process()
    await before.load()
    after = place.process()
    after.restore()

    assert after.keyring.authenticate(TEXT).principal.key_id == KEY.id
    assert after.signing.held == before.signing.held
    assert after.signing.codec().signing_id == 1


async def test_without_a_copy_it_goes_on_waiting_for_sql(place: Place) -> None:
    process = place.process()
    process.restore()

    with pytest.raises(UnavailableError):
        process.keyring.open_principal()
    with pytest.raises(LedgerUnavailableError):
        process.signing.codec()


async def test_the_copy_never_replaces_what_sql_said(place: Place) -> None:
    await place.process().load()
    await place.api_keys.add(KEY, "cli:ada")
    process = place.process()
    await process.keyring.reload()
    process.restore()

    assert process.keyring.authenticate(TEXT).principal.key_id == KEY.id
    assert process.signing.are_loaded


async def test_a_revoked_key_leaves_the_copy_at_the_next_reload(place: Place) -> None:
    await place.api_keys.add(KEY, "cli:ada")
    process = place.process()
    await process.load()
    await place.api_keys.revoke(KEY.id, NOW_MS + 1, "cli:ada")
    await process.reload_access()

    copy = place.copy()
    assert copy is not None
    assert [key.revoked_at_ms for key in copy.api] == [NOW_MS + 1]


async def test_a_use_of_a_key_writes_no_new_copy(place: Place) -> None:
    await place.api_keys.add(KEY, "cli:ada")
    process = place.process()
    await process.load()
    (place.directory / KEY_CACHE).unlink()
    await place.api_keys.touch({KEY.id: NOW_MS + 1})
    place.clock.at_ms += 3_600_000
    await process.reload_access()
    await process.reload_signing()

    assert place.copy() is None


async def test_a_disk_that_takes_no_copy_stops_nobody(place: Place) -> None:
    place.directory.write_text("a file where the directory should be")
    process = place.process()
    await process.load()

    assert process.keyring.is_loaded
    assert process.signing.are_loaded


async def test_a_copy_is_written_again_when_the_disk_has_room(place: Place) -> None:
    place.directory.write_text("a file where the directory should be")
    process = place.process()
    await process.load()
    place.directory.unlink()
    await process.reload_signing()

    copy = place.copy()
    assert copy is not None
    assert structs.replace(copy, signing=()) == HeldKeys((), [], 0, [Tenant(1, "default")])


async def test_the_copy_keeps_what_sql_lost(place: Place) -> None:
    older = deepcopy(place.api_keys.__dict__)
    await place.api_keys.add(KEY, "cli:ada")
    await place.api_keys.revoke(KEY.id, NOW_MS + 1, "cli:ada")
    process = place.process()
    await process.load()
    place.api_keys.__dict__.update(older)
    await process.reload_access()

    copy = place.copy()
    assert copy is not None
    assert [(key.id, key.revoked_at_ms) for key in copy.api] == [(KEY.id, NOW_MS + 1)]


async def test_a_process_that_starts_after_a_failover_knows_what_was_revoked(place: Place) -> None:
    await place.api_keys.add(KEY, "cli:ada")
    older = deepcopy(place.api_keys.__dict__)
    await place.api_keys.revoke(KEY.id, NOW_MS + 1, "cli:ada")
    await place.process().load()
    place.api_keys.__dict__.update(older)
    process = place.process()
    await process.load()

    with pytest.raises(UnauthenticatedError):
        process.keyring.authenticate(TEXT)
    assert [key.revoked_at_ms for key in await place.api_keys.all()] == [NOW_MS + 1]


async def test_a_database_that_was_emptied_gets_no_keys_from_the_copy(place: Place) -> None:
    empty = deepcopy(place.api_keys.__dict__)
    await place.api_keys.add(KEY, "cli:ada")
    await place.api_keys.revoke(KEY.id, NOW_MS + 1, "cli:ada")
    await place.process().load()
    place.api_keys.__dict__.update(empty)
    process = place.process()
    await process.load()

    assert await place.api_keys.all() == []
    assert process.keyring.open_principal() is not None


async def test_a_process_started_from_the_copy_puts_back_what_sql_lost(place: Place) -> None:
    older = deepcopy(place.api_keys.__dict__)
    await place.api_keys.add(KEY, "cli:ada")
    await place.process().load()
    place.api_keys.__dict__.update(older)
    process = place.process()
    process.restore()
    await process.load()

    assert await place.api_keys.all() == [KEY]
