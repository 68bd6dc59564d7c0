"""What the command line asks of the API keys; it brings along as little as it can, to be quick."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from service.access import Issuing, KeyWish
from service.bootstrap.system import SystemClock
from service.domain.access import ApiKey
from service.errors import LedgerUnavailableError, UnavailableError
from service.settings import Settings
from service.store.key_cache import KeyCacheFile
from service.store.sql_api_keys import SqlApiKeyStore
from service.store.sql_database import SqlDatabase


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
    database = SqlDatabase(settings.database)
    try:
        keys = await _known_keys(database, settings, migrate=migrate)
    finally:
        await database.dispose()
    return any(key.is_valid(now_ms()) for key in keys)


async def _known_keys(
    database: SqlDatabase, settings: Settings, *, migrate: bool
) -> Sequence[ApiKey]:
    store = SqlApiKeyStore(database)
    try:
        return await store.all()
    except LedgerUnavailableError as error:
        copy = KeyCacheFile(settings.outbox, settings.database).load()
        if copy is not None:
            return copy.api
        # A migration is given all the time it needs, so SQL that hangs is not asked for one.
        if not migrate or not await database.is_reachable():
            raise UnavailableError(
                "cannot ask whether there is an API key, as promobandit keys create makes one:"
                f" {error}"
            ) from error
    await database.migrate()
    return await store.all()


@asynccontextmanager
async def _issuing(settings: Settings) -> AsyncIterator[Issuing]:
    if settings.is_embedded and not settings.data_dir.is_dir():
        raise LookupError(f"there is no data in {settings.data_dir}")
    database = SqlDatabase(settings.database)
    try:
        if settings.is_embedded:
            await database.migrate()
        elif not await database.is_current():
            raise LookupError("the database is not of this version; run promobandit migrate")
        store = SqlApiKeyStore(database)
        yield Issuing(store=store, clock=SystemClock(), token_bytes=secrets.token_bytes)
    finally:
        await database.dispose()
