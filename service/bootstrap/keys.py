"""The keys of an API process: from SQL, or from a copy when it starts while SQL is down."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import structs

from service.access import Keyring
from service.bootstrap.lost_keys import put_back
from service.domain.clock import MINUTE_MS, Clock
from service.domain.token import KEY_IDS_MAX, SECRET_BYTES, Claim, SigningKey, TokenCodec
from service.errors import LedgerUnavailableError, StateConflictError
from service.logs import logger
from service.store.access_ports import HeldKeys, KeyCache, SigningKeyStore
from service.store.key_acts import signing_key_rotated

# Every process has loaded a new key, more than once, before the first one signs with it.
LEAD_MS = 5 * MINUTE_MS

_log = logger(__name__)


class StaleCodec(TokenCodec):
    """Made from keys that may lack the newest one, which others perhaps sign with already."""

    def unverified(self, key_id: int) -> Claim | None:
        """Return None, or raise `LedgerUnavailableError` if a key not yet known may have signed."""
        if self.can_sign(key_id - 1):
            raise LedgerUnavailableError("the newest signing key is not known yet; try again")
        return None


class Keys:
    """Holds the codec in use; verifies with every key, signs with the newest active one."""

    def __init__(self, store: SigningKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._codec: TokenCodec | None = None
        self.held: tuple[SigningKey, ...] = ()

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
        try:
            keys = await put_back(self._store, await self._store.keys(), self.held)
            now_ms = await self._store.now_ms()
        except LedgerUnavailableError:
            if self._codec is not None:  # It signs as before: others may not know a newer key.
                self._hold(self.held, self._codec.signing_id, is_current=False)
            raise
        self._take(keys, now_ms, is_current=True)

    def take_copy(self, keys: Sequence[SigningKey]) -> None:
        """Take keys that SQL could not be asked for, nor what time it is there."""
        self._take(keys, self._clock.now_ms(), is_current=False)

    def _take(self, keys: Sequence[SigningKey], now_ms: int, *, is_current: bool) -> None:
        """Verify with these keys, and sign with the one that is newest by then."""
        active = [key for key in keys if key.active_from_ms <= now_ms] or keys[:1]
        signing = max(active, key=lambda key: (key.active_from_ms, key.id))
        self._hold(keys, signing.id, is_current=is_current)

    def _hold(self, keys: Sequence[SigningKey], signing_id: int, *, is_current: bool) -> None:
        codec = TokenCodec if is_current else StaleCodec
        self._codec = codec({key.id: key.secret for key in keys}, signing_id)
        self.held = tuple(keys)


@dataclass(slots=True)
class AllKeys:
    """Both kinds of keys, and the copy of both that this process would start from."""

    signing: Keys
    keyring: Keyring
    cache: KeyCache
    _saved: HeldKeys | None = field(default=None, init=False)
    _was_told_open: bool = field(default=False, init=False)

    async def load(self) -> None:
        """Take all that stand in SQL now; what the copy knows to be revoked stays so."""
        if not self.keyring.is_loaded and (copy := self.cache.load()) is not None:
            self.keyring.remember_revoked(copy.api)
        await asyncio.gather(self.signing.reload(), self.keyring.reload())
        await self._changed()

    async def reload_signing(self) -> None:
        """Take the signing keys that stand in SQL now."""
        await self.signing.reload()
        await self._changed()

    async def reload_access(self) -> None:
        """Take the API keys if they changed."""
        if await self.keyring.reload():
            await self._changed()

    def restore(self) -> None:
        """Take what is missing from the copy: SQL could not be asked."""
        if self.signing.are_loaded and self.keyring.is_loaded:
            return
        copy = self.cache.load()
        if copy is None:
            _log.warning("keys_not_loaded", reason="SQL cannot be asked, and there is no copy")
            return
        _log.warning("keys_from_copy", reason="SQL cannot be asked")
        if not self.signing.are_loaded and copy.signing:
            self.signing.take_copy(copy.signing)
        if not self.keyring.is_loaded:
            self.keyring.take(copy.api, copy.revision, copy.tenants)
            self._tell_if_open()

    async def _changed(self) -> None:
        self._tell_if_open()
        if not (self.signing.are_loaded and self.keyring.is_loaded):
            return
        api = tuple(structs.replace(key, last_used_at_ms=None) for key in self.keyring.keys)
        tenants = tuple(self.keyring.tenants)
        held = HeldKeys(self.signing.held, api, self.keyring.revision, tenants)
        if held == self._saved:
            return
        try:
            await asyncio.to_thread(self.cache.save, held)
        except OSError as error:
            _log.warning("keys_not_copied", error=type(error).__name__)
        else:
            self._saved = held

    def _tell_if_open(self) -> None:
        if self._was_told_open or not self.keyring.is_loaded:
            return
        self._was_told_open = True
        if self.keyring.open_principal() is not None:
            _log.warning(
                "open_to_everyone_on_this_machine",
                reason="there are no API keys",
                remedy="promobandit keys create",
            )


async def rotate(store: SigningKeyStore, actor: str) -> SigningKey:
    """Insert the next key, active a few minutes from now, and return it."""
    newest = max(key.id for key in await store.keys())
    if newest >= KEY_IDS_MAX:
        raise StateConflictError(f"all {KEY_IDS_MAX} key ids are in use")
    now_ms = await store.now_ms()
    key = SigningKey(newest + 1, secrets.token_bytes(SECRET_BYTES), now_ms + LEAD_MS)
    act = signing_key_rotated(key.id, key.active_from_ms, now_ms, actor)
    if not await store.add(key, act):
        raise StateConflictError("another rotation was faster")
    return key
