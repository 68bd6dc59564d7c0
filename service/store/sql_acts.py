"""Administrative acts in SQL; whoever changes something inserts its act in the same transaction."""

from __future__ import annotations

from functools import partial

import msgspec
from sqlalchemy import Connection, insert, select

from service.domain.access import AdminAct
from service.store.sql_database import SqlDatabase
from service.store.sql_rows import json_text
from service.store.sql_tables_access import admin_acts


class SqlActStore:
    """See `service.store.access_ports.ActStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def record(self, act: AdminAct) -> None:
        """Append an act; its `id` is given here."""
        await self._database.write(partial(insert_act, act=act), is_repeatable=False)

    async def of_tenant(self, tenant: int, limit: int, after: int = 0) -> list[AdminAct]:
        """Return at most `limit` acts of a tenant, oldest first; `after` is the last id seen."""
        query = partial(_of_tenant, tenant=tenant, limit=limit, after=after)
        return await self._database.read(query)


def insert_act(connection: Connection, act: AdminAct) -> None:
    """Append an act in a transaction that is under way."""
    connection.execute(
        insert(admin_acts).values(
            tenant=act.tenant,
            at_ms=act.at_ms,
            actor=act.actor,
            action=act.action,
            subject=act.subject,
            detail=json_text(act.detail),
        )
    )


def _of_tenant(connection: Connection, tenant: int, limit: int, after: int) -> list[AdminAct]:
    query = (
        select(admin_acts)
        .where(admin_acts.c.tenant == tenant, admin_acts.c.id > after)
        .order_by(admin_acts.c.id)
        .limit(limit)
    )
    return [
        AdminAct(
            id=row.id,
            tenant=row.tenant,
            at_ms=row.at_ms,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            detail=msgspec.json.decode(row.detail),
        )
        for row in connection.execute(query)
    ]
