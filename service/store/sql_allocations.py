"""Allocation records in SQL; the primary key decides which of two allocators wins."""

from __future__ import annotations

from functools import partial

import msgspec
from sqlalchemy import Connection, select, update

from service.domain.allocation import Allocation
from service.store.sql_database import SqlDatabase
from service.store.sql_rows import json_text
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import allocations, experiments

_decoder = msgspec.json.Decoder(Allocation)


class SqlAllocationStore:
    """See `service.store.ports.AllocationStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def insert(self, allocation: Allocation) -> bool:
        """Insert a version; False when it exists already: the loser starts again."""
        return await self._database.write(partial(_insert, allocation=allocation))

    async def head(self, experiment: int) -> Allocation | None:
        """Return the highest version, or None."""
        return await self._database.read(partial(_find, experiment=experiment, version=None))

    async def heads(self) -> dict[int, int]:
        """Return the highest version of every experiment."""
        return await self._database.read(_heads)

    async def get(self, experiment: int, version: int) -> Allocation | None:
        """Return one version, or None."""
        return await self._database.read(partial(_find, experiment=experiment, version=version))


def _insert(connection: Connection, allocation: Allocation) -> bool:
    row = {
        "experiment": allocation.experiment,
        "version": allocation.version,
        "revision": allocation.revision,
        "at_ms": allocation.created_at_ms,
        "record": json_text(allocation),
    }
    statement = insert_or_ignore(connection, allocations).values(row)
    if connection.execute(statement.returning(allocations.c.version)).scalar() is None:
        return False
    connection.execute(
        update(experiments)
        .where(
            experiments.c.number == allocation.experiment,
            experiments.c.head_version < allocation.version,
        )
        .values(head_version=allocation.version)
    )
    return True


def _find(connection: Connection, experiment: int, version: int | None) -> Allocation | None:
    query = select(allocations.c.record).where(allocations.c.experiment == experiment)
    if version is None:
        query = query.order_by(allocations.c.version.desc()).limit(1)
    else:
        query = query.where(allocations.c.version == version)
    record = connection.execute(query).scalar()
    return None if record is None else _decoder.decode(record)


def _heads(connection: Connection) -> dict[int, int]:
    query = select(experiments.c.number, experiments.c.head_version).where(
        experiments.c.head_version > 0
    )
    return {row.number: row.head_version for row in connection.execute(query)}
