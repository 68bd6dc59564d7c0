"""Make, list and revoke API keys: what `promobandit keys` does."""

from __future__ import annotations

import re
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from service.domain.access import (
    DEFAULT_TENANT_NAME,
    KEY_ID_LENGTH,
    KEY_NAME_LENGTH_MAX,
    KEY_SECRET_BYTES,
    RATE_MAX,
    SERVICE_SCOPES,
    TENANT_PATTERN,
    ApiKey,
    Scope,
    digest_of,
    key_text,
)
from service.domain.clock import Clock
from service.errors import InvalidInputError
from service.store.access_ports import ApiKeyStore

_ID_BYTES = 8  # 60 of their 64 bits are spelt.

_EXPIRES_AT_MS_MAX = 253_402_300_799_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What somebody wants a key for."""

    scopes: frozenset[Scope]
    tenant: str = DEFAULT_TENANT_NAME
    name: str = ""
    expires_at_ms: int | None = None
    rate_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """The keys of all tenants, as an operator of the service sees them."""

    store: ApiKeyStore
    clock: Clock
    token_bytes: Callable[[int], bytes]

    async def create(self, wish: KeyWish, actor: str) -> tuple[ApiKey, str]:
        """Make a key; return it as kept and, this once, as its holder writes it."""
        now_ms = self.clock.now_ms()
        _check(wish, now_ms)
        tenant = await self.store.ensure_tenant(wish.tenant)
        key_id = b32encode(self.token_bytes(_ID_BYTES)).decode()[:KEY_ID_LENGTH].lower()
        secret = urlsafe_b64encode(self.token_bytes(KEY_SECRET_BYTES)).decode().rstrip("=")
        key = ApiKey(
            id=key_id,
            digest=digest_of(secret),
            tenant=tenant.number,
            scopes=wish.scopes,
            name=wish.name,
            created_at_ms=now_ms,
            expires_at_ms=wish.expires_at_ms,
            rate_max=wish.rate_max,
        )
        await self.store.add(key, actor)
        return key, key_text(key_id, secret)

    async def revoke(self, key_id: str, actor: str) -> bool:
        """Revoke a key; False when there is none of this id that was not revoked before."""
        return await self.store.revoke(key_id, self.clock.now_ms(), actor)

    async def listed(self, tenant: str | None = None) -> list[tuple[ApiKey, str]]:
        """Return the keys, oldest first, each with its tenant's name."""
        names = {each.number: each.name for each in await self.store.tenants()}
        if tenant is not None and tenant not in names.values():
            raise InvalidInputError("there is no tenant of this name")
        found = [(key, names[key.tenant]) for key in await self.store.all()]
        return [(key, name) for key, name in found if tenant in (None, name)]


def _check(wish: KeyWish, now_ms: int) -> None:
    if not wish.scopes:
        raise InvalidInputError("a key needs at least one scope")
    if not re.fullmatch(TENANT_PATTERN.strip("^$"), wish.tenant):
        raise InvalidInputError(
            "a tenant's name is 1 to 40 of a-z, 0-9 and -, and starts with a letter"
        )
    if wish.tenant != DEFAULT_TENANT_NAME and (refused := wish.scopes & SERVICE_SCOPES):
        raise InvalidInputError(
            f"scope {', '.join(sorted(refused))} shows the whole service: only the tenant"
            f" {DEFAULT_TENANT_NAME} may have it"
        )
    if len(wish.name) > KEY_NAME_LENGTH_MAX or not wish.name.isprintable():
        raise InvalidInputError(f"a key's name is at most {KEY_NAME_LENGTH_MAX} printable letters")
    if wish.expires_at_ms is not None and not now_ms < wish.expires_at_ms <= _EXPIRES_AT_MS_MAX:
        raise InvalidInputError("a key expires later than now, and before the year 10000")
    if wish.rate_max is not None and not 1 <= wish.rate_max <= RATE_MAX:
        raise InvalidInputError(f"a rate is from 1 to {RATE_MAX} decisions and rewards a second")
