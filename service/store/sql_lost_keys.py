"""Put tenants and API keys back into SQL that it had before it failed over to an older state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, select, update

from service.domain.access import ApiKey, Tenant
from service.store.key_acts import key_put_back, key_revoked
from service.store.sql_acts import insert_act
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import tenants
from service.store.sql_tables_access import api_keys

_SEQUENCE = "pg_get_serial_sequence('tenants', 'number')"
# Whoever makes a tenant waits for the lock with its number not yet drawn. SQLite goes on from the
# highest number that stands.
_POSTGRES_LOCK = "LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE"
_POSTGRES_RESERVE = f"SELECT setval({_SEQUENCE}, GREATEST(%s, nextval({_SEQUENCE})))"


def put_back(
    connection: Connection,
    lost: Sequence[Tenant],
    keys: Sequence[ApiKey],
    at_ms: int,
    actor: str,
) -> list[str]:
    """Write again what is missing, each key with an act; return the ids of changed keys."""
    refused = _put_back_tenants(connection, lost) if lost else set()
    # In one order for all processes: two that do this together never wait in a circle.
    return [
        key.id
        for key in sorted(keys, key=lambda key: key.id)
        if key.tenant not in refused and _put_back_key(connection, key, at_ms, actor)
    ]


def key_values(key: ApiKey) -> dict[str, Any]:
    """Return the columns of a key's row."""
    return {**structs.asdict(key), "scopes": " ".join(sorted(key.scopes))}


def _put_back_tenants(connection: Connection, lost: Sequence[Tenant]) -> set[int]:
    """Insert those whose number and name are both nobody's; return the numbers of the others."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_POSTGRES_LOCK)
        highest = max(tenant.number for tenant in lost)
        connection.exec_driver_sql(_POSTGRES_RESERVE, (highest,))
    for tenant in lost:
        values = {"number": tenant.number, "id": tenant.name}
        connection.execute(insert_or_ignore(connection, tenants).values(values))
    standing = {(row.number, row.id) for row in connection.execute(select(tenants))}
    return {each.number for each in lost if (each.number, each.name) not in standing}


def _put_back_key(connection: Connection, key: ApiKey, at_ms: int, actor: str) -> bool:
    statement = insert_or_ignore(connection, api_keys).values(key_values(key))
    if connection.execute(statement.returning(api_keys.c.id)).scalar() is not None:
        insert_act(connection, key_put_back(key, at_ms, actor))
        return True
    if key.revoked_at_ms is None:
        return False
    revoked = (
        update(api_keys)
        .where(api_keys.c.id == key.id, api_keys.c.revoked_at_ms.is_(None))
        .values(revoked_at_ms=key.revoked_at_ms)
        .returning(api_keys.c.tenant)
    )
    tenant = connection.execute(revoked).scalar()
    if tenant is None:
        return False
    insert_act(connection, key_revoked(key.id, tenant, at_ms, actor))
    return True
