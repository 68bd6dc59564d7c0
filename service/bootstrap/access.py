"""What the command line asks of the API keys."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.access import Issuing, KeyWish
from service.bootstrap.stores import SqlStores, open_sql, prepare_schema
from service.bootstrap.system import SystemClock
from service.domain.access import ApiKey
from service.errors import LedgerUnavailableError, UnavailableError
from service.settings import Settings
from service.store.key_cache import KeyCacheFile


def now_ms() -> int:
    """Return the machine's time."""
    return SystemClock().now_ms()


async def create_key(settings: Settings, wish: KeyWish, actor: str) -> tuple[ApiKey, str]:
    """Make a key; return it, and this once how its holder writes it."""
    if settings.is_embedded:  # The first key is made before the service ever ran.
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with _issuing(settings) as issuing:
        return await issuing.create(wish, actor)


async def list_keys(settings: Settings, tenant: str | None) -> list[tuple[ApiKey, str]]:
    """Return all keys, or a tenant's, each with its tenant's name."""
    async with _issuing(settings) as issuing:
        return await issuing.listed(tenant)


async def revoke_key(settings: Settings, key_id: str, actor: str) -> bool:
    """Revoke a key; False when there is none to revoke."""
    async with _issuing(settings) as issuing:
        return await issuing.revoke(key_id, actor)


async def has_valid_key(settings: Settings, *, migrate: bool) -> bool:
    """Whether any key opens anything now; asked of the copy only if SQL cannot be asked."""
    sql = open_sql(settings)
    try:
        await prepare_schema(sql, migrate=migrate)
        keys = await sql.api_keys.all()
    except LedgerUnavailableError as error:
        copy = KeyCacheFile(settings.outbox, settings.database).load()
        if copy is None:
            raise UnavailableError(
                "cannot ask whether there is an API key, as promobandit keys create makes one:"
                f" {error}"
            ) from error
        keys = list(copy.api)
    finally:
        await sql.database.dispose()
    return any(key.is_valid(now_ms()) for key in keys)


@asynccontextmanager
async def _issuing(settings: Settings) -> AsyncIterator[Issuing]:
    if settings.is_embedded and not settings.data_dir.is_dir():
        raise LookupError(f"there is no data in {settings.data_dir}")
    sql = open_sql(settings)
    try:
        await _require_schema(sql, migrate=settings.is_embedded)
        yield Issuing(store=sql.api_keys, clock=SystemClock(), token_bytes=secrets.token_bytes)
    finally:
        await sql.database.dispose()


async def _require_schema(sql: SqlStores, *, migrate: bool) -> None:
    if migrate:
        await sql.database.migrate()
    elif not await sql.database.is_current():
        raise LookupError("the database is not of this version; run promobandit migrate")
