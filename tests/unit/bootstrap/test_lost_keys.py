"""A signing key that SQL lost comes back from whoever still holds it."""

from __future__ import annotations

from service.bootstrap.keys import LEAD_MS, Keys, rotate
from service.domain.token import SECRET_BYTES, SigningKey
from service.store.memory_sql import MemorySigningKeyStore
from tests.store_records import HandClock, a_decision


async def test_a_key_that_sql_lost_is_put_back_and_goes_on_signing() -> None:
    clock = HandClock()
    store, older = MemorySigningKeyStore(clock), MemorySigningKeyStore(clock)
    keys = Keys(store, clock)
    await keys.reload()
    await older.add((await store.keys())[0])
    lost = await rotate(store, "cli:ada")
    clock.at_ms += LEAD_MS
    await keys.reload()
    token = keys.codec().encode(a_decision(1))

    store.__dict__.update(older.__dict__)  # It failed over.
    await keys.reload()

    assert lost in await store.keys()
    assert keys.codec().signing_id == lost.id
    assert keys.codec().decode(token) is not None


async def test_what_stands_in_sql_is_never_replaced() -> None:
    clock = HandClock()
    store = MemorySigningKeyStore(clock)
    keys = Keys(store, clock)
    await keys.reload()
    other = SigningKey(1, b"\x01" * SECRET_BYTES, 0)
    fresh = MemorySigningKeyStore(clock)
    await fresh.add(other)

    store.__dict__.update(fresh.__dict__)
    await keys.reload()

    assert await store.keys() == [other]
    assert keys.held == (other,)
