"""The secrets that sign decision tokens, in SQL, where every process finds the same ones."""

from __future__ import annotations

import secrets
from functools import partial

from sqlalchemy import Connection, select

from service.domain.access import AdminAct
from service.domain.token import SECRET_BYTES, SigningKey
from service.store.sql_acts import insert_act
from service.store.sql_database import SqlDatabase
from service.store.sql_statements import NOW_MS, insert_or_ignore
from service.store.sql_tables import signing_keys


class SqlSigningKeyStore:
    """See `service.store.ports.SigningKeyStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def keys(self) -> list[SigningKey]:
        """Return all keys, oldest first; makes the first one when there is none."""
        found = await self._database.read(_keys)
        if found:
            return found
        # Of processes that start together one inserts; all read what it inserted.
        await self.add(first_key())
        return await self._database.read(_keys)

    async def now_ms(self) -> int:
        """Return the time by the database's clock."""
        return await self._database.read(_now_ms)

    async def add(self, key: SigningKey, act: AdminAct | None = None) -> bool:
        """Insert a key, with the act that made it; False when its id is taken."""
        change = partial(_add, key=key, act=act)
        return await self._database.write(change, is_repeatable=act is None)


def first_key() -> SigningKey:
    """Return a new secret as key 1, active since ever."""
    return SigningKey(id=1, secret=secrets.token_bytes(SECRET_BYTES), active_from_ms=0)


def _keys(connection: Connection) -> list[SigningKey]:
    query = select(signing_keys).order_by(signing_keys.c.active_from_ms, signing_keys.c.id)
    return [
        SigningKey(row.id, bytes(row.secret), row.active_from_ms)
        for row in connection.execute(query)
    ]


def _now_ms(connection: Connection) -> int:
    return int(connection.exec_driver_sql(f"SELECT {NOW_MS[connection.dialect.name]}").scalar_one())


def _add(connection: Connection, key: SigningKey, act: AdminAct | None) -> bool:
    statement = insert_or_ignore(connection, signing_keys).values(
        id=key.id, secret=key.secret, active_from_ms=key.active_from_ms
    )
    is_new = connection.execute(statement.returning(signing_keys.c.id)).scalar() is not None
    if is_new and act is not None:
        insert_act(connection, act)
    return is_new
