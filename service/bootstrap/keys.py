"""The signing keys of this process: loaded from SQL, looked at again every minute."""

from __future__ import annotations

import secrets

from service.domain.clock import MINUTE_MS, Clock
from service.domain.token import KEY_IDS_MAX, SECRET_BYTES, SigningKey, TokenCodec
from service.errors import LedgerUnavailableError, StateConflictError
from service.store.access_ports import SigningKeyStore

# Every process has loaded a new key, more than once, before the first one signs with it.
LEAD_MS = 5 * MINUTE_MS


class Keys:
    """Holds the codec in use; verifies with every key, signs with the newest active one."""

    def __init__(self, store: SigningKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._codec: TokenCodec | None = None

    @property
    def are_loaded(self) -> bool:
        """Whether tokens can be signed."""
        return self._codec is not None

    def codec(self) -> TokenCodec:
        """Return the codec; raises `LedgerUnavailableError` until SQL gave the first keys."""
        if self._codec is None:
            raise LedgerUnavailableError("the service is starting; try again")
        return self._codec

    async def reload(self) -> None:
        """Take the keys that stand in SQL now."""
        keys = await self._store.keys()
        now_ms = self._clock.now_ms()
        active = [key for key in keys if key.active_from_ms <= now_ms] or keys[:1]
        signing = max(active, key=lambda key: (key.active_from_ms, key.id))
        self._codec = TokenCodec({key.id: key.secret for key in keys}, signing.id)


async def rotate(store: SigningKeyStore, clock: Clock) -> SigningKey:
    """Insert the next key, active a few minutes from now, and return it."""
    newest = max(key.id for key in await store.keys())
    if newest >= KEY_IDS_MAX:
        raise StateConflictError(f"all {KEY_IDS_MAX} key ids are in use")
    key = SigningKey(newest + 1, secrets.token_bytes(SECRET_BYTES), clock.now_ms() + LEAD_MS)
    if not await store.add(key):
        raise StateConflictError("another rotation was faster")
    return key
