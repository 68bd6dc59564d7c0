"""How each allocation's traffic was split, read from SQL."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import msgspec
from sqlalchemy import Connection, select

from service.domain.allocation import Allocation
from service.domain.split import SplitChange, SplitKey
from service.store import sql_evidence
from service.store.sql_database import SqlDatabase
from service.store.sql_tables import allocations
from service.store.sql_tables_split import version_pulls

_VERSIONS_AT_ONCE = 500
_KEY = [version_pulls.c[name] for name in SplitKey._fields]
_decoder = msgspec.json.Decoder(Allocation)


class SqlSplitStore:
    """See `service.store.split_ports.SplitStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        return await self._database.read(sql_evidence.revisions)

    async def changes(self, experiment: int, above_revision: int = 0) -> SplitChange:
        """Return the counts changed above an evidence revision, whole, and the newest one."""
        query = partial(_changes, experiment=experiment, above_revision=above_revision)
        # All counts of a long and busy life are a million rows: a worker that starts has the time.
        return await self._database.read(query, is_patient=not above_revision)

    async def allocations(
        self, experiment: int, versions: Collection[int]
    ) -> dict[int, Allocation]:
        """Return allocations by version; unknown ones are left out."""
        found: dict[int, Allocation] = {}
        wanted = sorted(versions)
        for start in range(0, len(wanted), _VERSIONS_AT_ONCE):
            some = wanted[start : start + _VERSIONS_AT_ONCE]
            query = partial(_allocations, experiment=experiment, versions=some)
            found |= await self._database.read(query)
        return found


def _changes(connection: Connection, experiment: int, above_revision: int) -> SplitChange:
    revision = sql_evidence.revision(connection, experiment)
    if revision <= above_revision:
        return SplitChange(revision, {})
    query = (
        select(*_KEY, version_pulls.c.pulls)
        .where(version_pulls.c.experiment == experiment, version_pulls.c.revision > above_revision)
        .order_by(*_KEY)
    )
    rows = connection.execute(query)
    return SplitChange(revision, {SplitKey(*key): pulls for *key, pulls in rows})


def _allocations(
    connection: Connection, experiment: int, versions: list[int]
) -> dict[int, Allocation]:
    query = select(allocations.c.version, allocations.c.record).where(
        allocations.c.experiment == experiment, allocations.c.version.in_(versions)
    )
    return {row.version: _decoder.decode(row.record) for row in connection.execute(query)}
