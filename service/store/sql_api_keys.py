"""Tenants and API keys in SQL; never a secret, only its digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from service.domain.access import ApiKey, Scope, Tenant
from service.errors import StateConflictError
from service.store.key_acts import key_created, key_revoked
from service.store.sql_acts import insert_act
from service.store.sql_database import SqlDatabase
from service.store.sql_lost_keys import key_values, put_back
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import tenants
from service.store.sql_tables_access import api_keys

_KNOWN_SCOPES = frozenset(Scope)
_TENANT = select(tenants.c.number, tenants.c.id)
# Rows are never deleted and a revocation never taken back, so every change raises the sum.
_REVISION = select(func.count() + func.count(api_keys.c.revoked_at_ms)).select_from(api_keys)
_TOUCH = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        or_(
            api_keys.c.last_used_at_ms.is_(None),
            api_keys.c.last_used_at_ms < bindparam("used_at_ms"),
        ),
    )
    .values(last_used_at_ms=bindparam("used_at_ms"))
)


class SqlApiKeyStore:
    """See `service.store.access_ports.ApiKeyStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def ensure_tenant(self, name: str) -> Tenant:
        """Return the tenant of a name; it is made when there is none."""
        found = await self._database.read(partial(_tenant, name=name))
        if found is None:
            found = await self._database.write(partial(_make_tenant, name=name))
        return found

    async def tenants(self) -> list[Tenant]:
        """Return all tenants, in order of number; `default` is number 1."""
        return await self._database.read(_tenants)

    async def add(self, key: ApiKey, actor: str) -> None:
        """Insert a key and its act; raises `StateConflictError` when the id is taken."""
        await self._database.write(partial(_add, key=key, actor=actor), is_repeatable=False)

    async def revoke(self, key_id: str, at_ms: int, actor: str) -> bool:
        """Revoke a key and write the act; False when there is none, or it was revoked before."""
        change = partial(_revoke, key_id=key_id, at_ms=at_ms, actor=actor)
        return await self._database.write(change, is_repeatable=False)

    async def put_back(
        self, tenants: Sequence[Tenant], keys: Sequence[ApiKey], at_ms: int, actor: str
    ) -> list[str]:
        """Write again what was lost, each key with an act; return the ids of changed keys."""
        change = partial(put_back, lost=tenants, keys=keys, at_ms=at_ms, actor=actor)
        return await self._database.write(change)

    async def all(self) -> list[ApiKey]:
        """Return every key ever made, oldest first; expired and revoked ones are kept."""
        return await self._database.read(_all)

    async def revision(self) -> int:
        """Return a number that every `add` and `revoke` raises."""
        return await self._database.read(lambda connection: connection.scalar(_REVISION) or 0)

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys, by id, were last used; a time never goes back."""
        if used:
            await self._database.write(partial(_touch, used=used))


def _tenant(connection: Connection, name: str) -> Tenant | None:
    row = connection.execute(_TENANT.where(tenants.c.id == name)).one_or_none()
    return None if row is None else Tenant(row.number, row.id)


def _make_tenant(connection: Connection, name: str) -> Tenant:
    connection.execute(insert_or_ignore(connection, tenants).values(id=name))
    row = connection.execute(_TENANT.where(tenants.c.id == name)).one()
    return Tenant(row.number, row.id)


def _tenants(connection: Connection) -> list[Tenant]:
    rows = connection.execute(_TENANT.order_by(tenants.c.number))
    return [Tenant(row.number, row.id) for row in rows]


def _add(connection: Connection, key: ApiKey, actor: str) -> None:
    statement = insert_or_ignore(connection, api_keys).values(key_values(key))
    if connection.execute(statement.returning(api_keys.c.id)).scalar() is None:
        raise StateConflictError("this key id is taken")
    insert_act(connection, key_created(key, actor))


def _revoke(connection: Connection, key_id: str, at_ms: int, actor: str) -> bool:
    statement = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at_ms.is_(None))
        .values(revoked_at_ms=at_ms)
        .returning(api_keys.c.tenant)
    )
    tenant = connection.execute(statement).scalar()
    if tenant is None:
        return False
    insert_act(connection, key_revoked(key_id, tenant, at_ms, actor))
    return True


def _all(connection: Connection) -> list[ApiKey]:
    query = select(api_keys).order_by(api_keys.c.created_at_ms, api_keys.c.id)
    return [_key(row) for row in connection.execute(query)]


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        digest=bytes(row.digest),
        tenant=row.tenant,
        # A scope of a newer version opens nothing here.
        scopes=frozenset(Scope(name) for name in row.scopes.split() if name in _KNOWN_SCOPES),
        name=row.name,
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
        revoked_at_ms=row.revoked_at_ms,
        last_used_at_ms=row.last_used_at_ms,
        rate_max=row.rate_max,
    )


def _touch(connection: Connection, used: Mapping[str, int]) -> None:
    # In one order for all processes: two that touch the same keys never wait in a circle.
    rows = [{"key_id": key_id, "used_at_ms": at_ms} for key_id, at_ms in sorted(used.items())]
    connection.execute(_TOUCH, rows)
