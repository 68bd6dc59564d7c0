"""The API keys as an API process holds them: all in memory, so that a request asks no store."""

from __future__ import annotations

from collections.abc import Sequence

from service.access.limits import RateLimit
from service.access.lost_keys import Known, lost_of
from service.domain.access import (
    OPEN_PRINCIPAL,
    ApiKey,
    Principal,
    Tenant,
    digest_of,
    parts_of,
)
from service.domain.clock import MINUTE_MS, Clock
from service.errors import ServiceError, UnauthenticatedError, UnavailableError
from service.logs import logger
from service.store.access_ports import ApiKeyStore

ACTOR = "service"  # Who puts back what SQL lost.
# Read anew even if nothing seems changed: SQL may have failed over to an older state.
REREAD_MS = MINUTE_MS
_REFUSAL = "show a valid API key"
_STARTING = "the service is starting; try again"
_UNKNOWN = -1  # No store has this revision, so that all is read again.

_log = logger(__name__)


class Holder:
    """Whoever shows a key: what the key opens, how much a second, and when it was used last."""

    __slots__ = ("key", "limit", "principal", "used_at_ms")

    def __init__(self, key: ApiKey, limit: RateLimit | None) -> None:
        self.key = key
        self.principal = Principal(key.tenant, key.scopes, key.id)
        self.limit = limit
        self.used_at_ms = 0


class Keyring:
    """Tells who shows a key; a limit is shared out among the `processes` of this machine."""

    def __init__(
        self, store: ApiKeyStore, clock: Clock, *, is_exposed: bool, processes: int = 1
    ) -> None:
        self._store = store
        self._clock = clock
        self._is_exposed = is_exposed
        self._processes = processes
        self._holders: dict[str, Holder] = {}
        self._flushed_ms: dict[str, int] = {}
        self._reread_at_ms = 0
        self._needs_keys = is_exposed
        self._revoked: Sequence[ApiKey] = ()
        self.tenants: Sequence[Tenant] = ()
        self.revision = _UNKNOWN
        self.is_loaded = False

    def open_principal(self) -> Principal | None:
        """Return whom anybody acts as, None when a key must be shown.

        Raises `UnavailableError` until it is known whether there are keys.
        """
        if not self.is_loaded:
            raise UnavailableError(_STARTING)
        return None if self._needs_keys else OPEN_PRINCIPAL

    def authenticate(self, text: str) -> Holder:
        """Return who shows a key; otherwise raises `UnauthenticatedError`, always the same.

        Before the first load it is `UnavailableError`, for a key that may well be valid.
        """
        parts = parts_of(text)
        if parts is None:
            raise UnauthenticatedError(_REFUSAL)
        key_id, secret = parts
        holder = self._holders.get(key_id)
        if holder is None:
            digest_of(secret)  # An unknown id takes as long as a wrong secret.
            raise self._unknown()
        now_ms = self._clock.now_ms()
        if not (holder.key.opens_with(secret) and holder.key.is_valid(now_ms)):
            raise UnauthenticatedError(_REFUSAL)
        holder.used_at_ms = now_ms
        return holder

    def _unknown(self) -> ServiceError:
        """Return the refusal of a key that is not held: before the first load it may be valid."""
        return UnauthenticatedError(_REFUSAL) if self.is_loaded else UnavailableError(_STARTING)

    @property
    def keys(self) -> list[ApiKey]:
        """Every key that is held, expired and revoked ones too."""
        return [holder.key for holder in self._holders.values()]

    async def reload(self) -> bool:
        """Take the keys that stand in SQL if they changed; tell whether they were read.

        What SQL lost by failing over to an older state stays in force and is put back.
        """
        revision = await self._store.revision()
        now_ms = self._clock.monotonic_ms()
        if revision == self.revision and now_ms < self._reread_at_ms:
            return False
        # Read after its revision: what came between is read again the next time. A key's tenant is
        # there before it.
        keys = await self._store.all()
        standing = Known(await self._store.tenants(), keys)
        lost = lost_of(standing, self._known(standing))
        is_whole = not lost.tenants and not lost.keys
        both = standing.with_those(lost)
        # In force before it is written: SQL may not take it now, and then it is tried again.
        self.take(both.keys, revision if is_whole else _UNKNOWN, both.tenants)
        if not is_whole:
            await self._put_back(lost)
        self._reread_at_ms = now_ms + REREAD_MS
        return True

    def _known(self, standing: Known) -> Known:
        """Return what this process knows, or, at its start, the one before it knew to be revoked.

        The latter only of keys that stand: SQL may have been emptied while nobody looked.
        """
        if self.is_loaded:
            return Known(self.tenants, self.keys)
        ids = {key.id for key in standing.keys}
        return Known((), [key for key in self._revoked if key.id in ids])

    async def _put_back(self, lost: Known) -> None:
        now_ms = self._clock.now_ms()
        if changed := await self._store.put_back(lost.tenants, lost.keys, now_ms, ACTOR):
            _log.warning("api_keys_put_back", key_ids=changed)

    def remember_revoked(self, keys: Sequence[ApiKey]) -> None:
        """Know from a copy, before the first load, which keys had been revoked."""
        self._revoked = [key for key in keys if key.revoked_at_ms is not None]

    def take(self, keys: Sequence[ApiKey], revision: int, tenants: Sequence[Tenant] = ()) -> None:
        """Hold these keys and no others; those that are held already keep their limits."""
        self.tenants = tenants
        self._holders = {key.id: self._holder_of(key) for key in keys}
        # Once there was a key the service never opens again, whatever SQL forgets.
        self._needs_keys = self._needs_keys or bool(keys)
        self.revision = revision
        self.is_loaded = True

    def _holder_of(self, key: ApiKey) -> Holder:
        held = self._holders.get(key.id)
        if held is not None and held.key.rate_max == key.rate_max:
            held.key = key
            held.principal = Principal(key.tenant, key.scopes, key.id)
            return held
        rate = key.rate_max
        limit = None if rate is None else RateLimit(rate / self._processes, self._clock)
        return Holder(key, limit)

    async def flush_used(self) -> None:
        """Write when keys were last used, those that were since the last time."""
        used = {
            key_id: holder.used_at_ms
            for key_id, holder in self._holders.items()
            if holder.used_at_ms > self._flushed_ms.get(key_id, 0)
        }
        if used:
            await self._store.touch(used)
            self._flushed_ms.update(used)
