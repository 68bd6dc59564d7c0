"""Keyrings for tests: real ones, filled by hand."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable

from service.access.keyring import Keyring
from service.domain.access import ALL_SCOPES, ApiKey, Scope, digest_of, key_text
from service.domain.clock import Clock
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore


def an_open_keyring(clock: Clock, *, is_exposed: bool = False) -> Keyring:
    """Return the keyring of a process that knows that there are no keys."""
    keyring = Keyring(MemoryApiKeyStore(MemoryActStore()), clock, is_exposed=is_exposed)
    keyring.take([], 0)
    return keyring


def let_in(
    keyring: Keyring,
    tenant: int = 1,
    scopes: Iterable[Scope] = ALL_SCOPES,
    *,
    rate_max: int | None = None,
    expires_at_ms: int | None = None,
    revoked_at_ms: int | None = None,
) -> str:
    """Add a key to those that are held, and return it as its holder writes it."""
    serial = len(keyring.keys)
    key_id = b32encode(serial.to_bytes(8, "little")).decode()[:12].lower()
    secret = f"{serial:043d}"
    key = ApiKey(
        id=key_id,
        digest=digest_of(secret),
        tenant=tenant,
        scopes=frozenset(scopes),
        name=f"key {serial}",
        created_at_ms=0,
        rate_max=rate_max,
        expires_at_ms=expires_at_ms,
        revoked_at_ms=revoked_at_ms,
    )
    keyring.take([*keyring.keys, key], serial + 1)
    return key_text(key_id, secret)
