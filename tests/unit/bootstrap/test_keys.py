"""Signing keys rotate so that no process meets a token it cannot verify."""

from __future__ import annotations

import msgspec
import pytest

from service.bootstrap.keys import LEAD_MS, Keys, rotate
from service.domain.clock import HOUR_MS, SECOND_MS
from service.domain.token import KEY_IDS_MAX, SigningKey, TokenCodec
from service.errors import LedgerUnavailableError, StateConflictError
from service.store.memory_access import MemoryActStore
from service.store.memory_sql import MemorySigningKeyStore
from tests.store_records import HandClock, a_decision


async def test_before_the_first_load_nothing_is_signed() -> None:
    keys = Keys(MemorySigningKeyStore(HandClock()), HandClock())

    with pytest.raises(LedgerUnavailableError):
        keys.codec()

    await keys.reload()
    assert keys.codec().signing_id == 1


async def test_a_new_key_verifies_at_once_and_signs_after_its_lead() -> None:
    clock = HandClock()
    store = MemorySigningKeyStore(clock)
    keys = Keys(store, clock)
    await keys.reload()
    new = await rotate(store, "cli:ada")
    signing = []
    for _ in range(2):
        await keys.reload()
        signing.append(keys.codec().signing_id)
        clock.at_ms += LEAD_MS

    assert (new.id, signing) == (2, [1, 2])


async def test_a_clock_that_is_ahead_makes_nobody_sign_with_a_key_before_its_time() -> None:
    store, ahead = MemorySigningKeyStore(HandClock()), HandClock()
    ahead.at_ms += HOUR_MS
    await rotate(store, "cli:ada")
    keys = Keys(store, ahead)
    await keys.reload()

    assert keys.codec().signing_id == 1


class AwayKeys(MemorySigningKeyStore):
    """A store of signing keys that can be away."""

    is_away = False

    async def keys(self) -> list[SigningKey]:
        """Raise while it is away."""
        if self.is_away:
            raise LedgerUnavailableError("SQL is away")
        return await super().keys()


async def test_a_token_of_a_key_that_could_not_be_asked_for_is_not_called_foreign() -> None:
    clock = HandClock()
    store = AwayKeys(clock)
    behind, ahead = Keys(store, clock), Keys(store, clock)
    await behind.reload()
    await rotate(store, "cli:ada")
    clock.at_ms += LEAD_MS
    await ahead.reload()
    token = ahead.codec().encode(msgspec.structs.replace(a_decision(1), key_id=2))
    store.is_away = True
    with pytest.raises(LedgerUnavailableError):
        await behind.reload()

    with pytest.raises(LedgerUnavailableError):
        behind.codec().decode(token)
    store.is_away = False
    await behind.reload()
    assert behind.codec().decode(token) is not None


async def test_while_sql_is_away_the_signing_key_stays_and_forgeries_are_foreign() -> None:
    clock = HandClock()
    store = AwayKeys(clock)
    keys = Keys(store, clock)
    await rotate(store, "cli:ada")
    await keys.reload()
    clock.at_ms += LEAD_MS
    store.is_away = True
    with pytest.raises(LedgerUnavailableError):
        await keys.reload()
    forged = TokenCodec({2: b"x" * 32}, 2).encode(msgspec.structs.replace(a_decision(1), key_id=2))

    assert keys.codec().signing_id == 1
    assert keys.codec().decode(forged) is None


async def test_key_ids_do_not_outgrow_the_replay_memory() -> None:
    clock = HandClock()
    store = MemorySigningKeyStore(clock)
    for _ in range(KEY_IDS_MAX - 1):
        await rotate(store, "cli:ada")

    with pytest.raises(StateConflictError):
        await rotate(store, "cli:ada")


async def test_a_rotation_stands_in_the_trail_without_the_secret() -> None:
    acts = MemoryActStore()
    new = await rotate(MemorySigningKeyStore(HandClock(), acts), "cli:ada")

    (act,) = await acts.of_tenant(1, 10)
    assert (act.actor, act.action, act.subject) == ("cli:ada", "rotate signing key", "2")
    assert act.detail == {"active_from_ms": new.active_from_ms}


async def test_a_token_signed_at_any_moment_of_a_rotation_is_valid_everywhere() -> None:
    clock = HandClock()
    store = MemorySigningKeyStore(clock)
    processes = [Keys(store, clock) for _ in range(3)]
    for process in processes:
        await process.reload()
    rejected, signers = 0, set()
    for second in range(-120, 600):
        if second == 0:
            await rotate(store, "cli:ada")
        for number, process in enumerate(processes):
            if second % 60 == 7 + 20 * number:  # Each in its own minute's rhythm.
                await process.reload()
        for signer in processes:
            codec = signer.codec()
            signers.add(codec.signing_id)
            made = msgspec.structs.replace(a_decision(second + 120), key_id=codec.signing_id)
            token = codec.encode(made)
            rejected += sum(process.codec().decode(token) is None for process in processes)
        clock.at_ms += SECOND_MS

    assert (rejected, signers) == (0, {1, 2})
    first = processes[0].codec()
    old = first.encode(msgspec.structs.replace(a_decision(1), key_id=1))
    assert first.decode(old) is not None
