"""Snapshots in SQL: rows of evidence, estimates and allocation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection, delete, exists, select

from service.domain.clock import HOUR_MS
from service.store.records import Snapshot
from service.store.sql_database import SqlDatabase
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import snapshots


class SqlSnapshotStore:
    """See `service.store.ports.SnapshotStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Insert rows; one that exists (experiment, variant, time) is left alone."""
        if snapshots:
            await self._database.write(partial(_add, added=snapshots))

    async def rows(self, experiment: int, since_ms: int) -> list[Snapshot]:
        """Return an experiment's snapshots from a time on, in order of (time, variant)."""
        return await self._database.read(partial(_rows, experiment=experiment, since_ms=since_ms))

    async def thin(self, before_ms: int) -> int:
        """Keep the first of every hour of those older than a time; return how many went."""
        return await self._database.write(partial(_thin, before_ms=before_ms), is_patient=True)


def _add(connection: Connection, added: Sequence[Snapshot]) -> None:
    # Sums of money outgrow 64 bits: SQLite takes them as text, PostgreSQL as NUMERIC.
    exact = str if connection.dialect.name == "sqlite" else int
    rows = [
        msgspec.structs.asdict(snapshot) | {"value_micros": exact(snapshot.value_micros)}
        for snapshot in added
    ]
    connection.execute(insert_or_ignore(connection, snapshots), rows)


def _rows(connection: Connection, experiment: int, since_ms: int) -> list[Snapshot]:
    query = (
        select(snapshots)
        .where(snapshots.c.experiment == experiment, snapshots.c.at_ms >= since_ms)
        .order_by(snapshots.c.at_ms, snapshots.c.variant)
    )
    rows = connection.execute(query).mappings()
    return [Snapshot(**{**row, "value_micros": int(row["value_micros"])}) for row in rows]


def _thin(connection: Connection, before_ms: int) -> int:
    earlier = snapshots.alias()
    is_not_first = exists().where(
        earlier.c.experiment == snapshots.c.experiment,
        earlier.c.variant == snapshots.c.variant,
        earlier.c.at_ms < snapshots.c.at_ms,
        earlier.c.at_ms >= snapshots.c.at_ms - snapshots.c.at_ms % HOUR_MS,
    )
    statement = delete(snapshots).where(snapshots.c.at_ms < before_ms, is_not_first)
    return connection.execute(statement).rowcount
