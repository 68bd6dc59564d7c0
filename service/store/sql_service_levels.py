"""Counts of answers in SQL: a row a minute and an hour, route, verdict and time, summed up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.clock import HOUR_MS
from service.domain.service_levels import Bucket, Cell, Counts, LevelFlush
from service.store.sql_database import SqlDatabase
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables_service_levels import service_level_writers, service_levels


class SqlServiceLevelStore:
    """See `service.store.service_level_ports.ServiceLevelStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, flush: LevelFlush) -> bool:
        """Add what a process counted, in one transaction."""
        return await self._database.write(partial(_add, flush=flush))

    async def sums(self, span_ms: int, since_ms: int, until_ms: int | None = None) -> Counts:
        """Return the sums of the stretches of one length that began in a time."""
        query = partial(_sums, span_ms=span_ms, since_ms=since_ms, until_ms=until_ms)
        return await self._database.read(query, is_report=True)

    async def forget(self, span_ms: int, before_ms: int) -> int:
        """Delete the stretches of one length that began before a time."""
        return await self._database.write(partial(_forget, span_ms=span_ms, before_ms=before_ms))


def _add(connection: Connection, flush: LevelFlush) -> bool:
    if not _is_next(connection, flush):
        return False
    if flush.cells:
        connection.execute(_upsert(connection), _rows(flush.cells))
    return True


def _is_next(connection: Connection, flush: LevelFlush) -> bool:
    writers = service_level_writers
    first = insert_or_ignore(connection, writers).values(
        writer=flush.writer, sequence=0, at_ms=flush.at_ms
    )
    connection.execute(first)
    taken = (
        update(writers)
        .where(writers.c.writer == flush.writer, writers.c.sequence < flush.sequence)
        .values(sequence=flush.sequence, at_ms=flush.at_ms)
    )
    return connection.execute(taken).rowcount > 0


def _upsert(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    keys, total = list(service_levels.primary_key), service_levels.c.requests
    if connection.dialect.name == "sqlite":
        rows = sqlite.insert(service_levels)
        return rows.on_conflict_do_update(
            index_elements=keys, set_={"requests": total + rows.excluded.requests}
        )
    added = postgresql.insert(service_levels)
    return added.on_conflict_do_update(
        index_elements=keys, set_={"requests": total + added.excluded.requests}
    )


def _rows(cells: Mapping[Cell, int]) -> list[dict[str, object]]:
    """Return rows in one order for all processes, so that none waits for one that waits for it."""
    return [
        {
            "span_ms": cell.span_ms,
            "start_ms": cell.start_ms,
            **cell.bucket._asdict(),
            "requests": count,
        }
        for cell, count in sorted(cells.items())
    ]


def _sums(connection: Connection, span_ms: int, since_ms: int, until_ms: int | None) -> Counts:
    columns = service_levels.c
    bucket = (columns.route, columns.is_bad, columns.upto_us)
    query = (
        select(*bucket, func.sum(columns.requests))
        .where(columns.span_ms == span_ms, columns.start_ms > since_ms)
        .group_by(*bucket)
    )
    if until_ms is not None:
        query = query.where(columns.start_ms <= until_ms)
    # PostgreSQL sums up to NUMERIC.
    return {Bucket(*key): int(total) for *key, total in connection.execute(query)}


def _forget(connection: Connection, span_ms: int, before_ms: int) -> int:
    columns, writers = service_levels.c, service_level_writers
    if span_ms == HOUR_MS:
        connection.execute(delete(writers).where(writers.c.at_ms < before_ms))
    old = delete(service_levels).where(columns.span_ms == span_ms, columns.start_ms < before_ms)
    return connection.execute(old).rowcount
