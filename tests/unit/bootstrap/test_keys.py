"""Signing keys rotate so that no process meets a token it cannot verify."""

from __future__ import annotations

import pytest

from service.bootstrap.keys import LEAD_MS, Keys, rotate
from service.domain.token import KEY_IDS_MAX
from service.errors import LedgerUnavailableError, StateConflictError
from service.store.memory_sql import MemorySigningKeyStore
from tests.store_records import HandClock


async def test_before_the_first_load_nothing_is_signed() -> None:
    keys = Keys(MemorySigningKeyStore(), HandClock())

    with pytest.raises(LedgerUnavailableError):
        keys.codec()

    await keys.reload()
    assert keys.codec().signing_id == 1


async def test_a_new_key_verifies_at_once_and_signs_after_its_lead() -> None:
    store, clock = MemorySigningKeyStore(), HandClock()
    keys = Keys(store, clock)
    await keys.reload()
    new = await rotate(store, clock, "cli:ada")
    signing = []
    for _ in range(2):
        await keys.reload()
        signing.append(keys.codec().signing_id)
        clock.at_ms += LEAD_MS

    assert (new.id, signing) == (2, [1, 2])


async def test_key_ids_do_not_outgrow_the_replay_memory() -> None:
    store, clock = MemorySigningKeyStore(), HandClock()
    for _ in range(KEY_IDS_MAX - 1):
        await rotate(store, clock, "cli:ada")

    with pytest.raises(StateConflictError):
        await rotate(store, clock, "cli:ada")
