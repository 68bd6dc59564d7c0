"""Leases in SQL, timed by the database's clock, which all processes share."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, delete

from service.store.sql_database import SqlDatabase
from service.store.sql_statements import NOW_MS
from service.store.sql_tables import leases

_ACQUIRE = {
    dialect: (
        "INSERT INTO leases (name, holder, expires_at_ms)"  # noqa: S608
        f" VALUES ({mark}, {mark}, {NOW_MS[dialect]} + {mark})"
        " ON CONFLICT (name) DO UPDATE"
        " SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms"
        f" WHERE leases.holder = excluded.holder OR leases.expires_at_ms <= {NOW_MS[dialect]}"
        " RETURNING holder"
    )
    for dialect, mark in (("sqlite", "?"), ("postgresql", "%s"))
}


class SqlLeaseStore:
    """See `service.store.ports.LeaseStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while another holder's has not expired."""
        milliseconds = round(seconds * 1000)
        return await self._database.write(
            partial(_acquire, name=name, holder=holder, milliseconds=milliseconds)
        )

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back if it is ours."""
        await self._database.write(partial(_release, name=name, holder=holder))


def _acquire(connection: Connection, name: str, holder: str, milliseconds: int) -> bool:
    statement = _ACQUIRE[connection.dialect.name]
    return connection.exec_driver_sql(statement, (name, holder, milliseconds)).scalar() == holder


def _release(connection: Connection, name: str, holder: str) -> None:
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
