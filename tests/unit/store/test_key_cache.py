"""The copy of the keys is whole, private and of the right database, or it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.domain.access import ALL_SCOPES, ApiKey, digest_of
from service.domain.token import SigningKey
from service.store.access_ports import HeldKeys
from service.store.key_cache import KEY_CACHE, KeyCacheFile

DATABASE = "postgresql://ada:hush@db/ledger"
KEYS = HeldKeys(
    signing=(SigningKey(1, b"\x00\xff" * 16, 0), SigningKey(2, b"\x01" * 32, 2**41)),
    api=(
        ApiKey(
            id="abcdefghijkl",
            digest=digest_of("s" * 43),
            tenant=2,
            scopes=ALL_SCOPES,
            name="Größe",
            created_at_ms=5,
            rate_max=9,
        ),
    ),
    revision=3,
)


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def saved(outbox: Path) -> Path:
    KeyCacheFile(outbox, DATABASE).save(KEYS)
    return outbox / KEY_CACHE


def test_what_was_saved_is_loaded(outbox: Path) -> None:
    saved(outbox)

    loaded = KeyCacheFile(outbox, DATABASE).load()
    assert loaded is not None
    assert (tuple(loaded.signing), tuple(loaded.api), loaded.revision) == (
        KEYS.signing,
        KEYS.api,
        3,
    )


def test_only_its_owner_may_read_it_and_nothing_else_is_left(outbox: Path) -> None:
    path = saved(outbox)
    saved(outbox)

    assert path.stat().st_mode & 0o777 == 0o600
    assert list(outbox.iterdir()) == [path]


def test_no_secret_of_an_api_key_is_in_it(outbox: Path) -> None:
    assert b"s" * 43 not in saved(outbox).read_bytes()


def test_without_a_file_there_is_no_copy(outbox: Path) -> None:
    assert KeyCacheFile(outbox, DATABASE).load() is None


def test_every_damaged_byte_makes_it_no_copy(outbox: Path) -> None:
    path = saved(outbox)
    whole = path.read_bytes()
    found = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found.append(KeyCacheFile(outbox, DATABASE).load())

    assert set(found) == {None}


def test_every_shorter_file_is_no_copy(outbox: Path) -> None:
    path = saved(outbox)
    whole = path.read_bytes()
    found = []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found.append(KeyCacheFile(outbox, DATABASE).load())

    assert set(found) == {None}


def test_the_copy_of_another_database_is_none(outbox: Path) -> None:
    saved(outbox)

    assert KeyCacheFile(outbox, "postgresql://ada:hush@db/other").load() is None
    assert KeyCacheFile(outbox, "postgres://ada:new-word@db/ledger").load() is not None


def test_a_copy_that_cannot_be_written_leaves_the_former_one(outbox: Path) -> None:
    saved(outbox)
    (outbox / KEY_CACHE).rename(outbox / "kept")
    (outbox / KEY_CACHE).mkdir()

    with pytest.raises(OSError, match="directory"):
        KeyCacheFile(outbox, DATABASE).save(KEYS)

    assert sorted(path.name for path in outbox.iterdir()) == ["kept", KEY_CACHE]
