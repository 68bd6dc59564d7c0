"""Erasures and retention in SQL: rows are found by readers and wiped in short transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    delete,
    insert,
    literal,
    select,
    update,
)

from service.domain.access import AdminAct
from service.domain.erasure import Erasure
from service.errors import ErasureNotFoundError
from service.store.privacy_ports import Expired
from service.store.sql_acts import insert_act
from service.store.sql_database import SqlDatabase
from service.store.sql_rows import json_text
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import conflicting_decisions, decisions, outbox_positions, rewards
from service.store.sql_tables_privacy import erased_keys, erasures, retention
from service.store.sql_wiping import (
    ROWS_AT_ONCE,
    TABLES,
    identity,
    serials_telling,
    wipe,
    wipe_event_ids,
)

_UNITS_AT_ONCE = 500  # Of one pass over the ledger.
_WATERMARK = "decisions"


class _Found(NamedTuple):
    """A row that one of the units stands in."""

    table: Table
    id: Any
    key: bytes
    tenant: int
    unit: str
    decided_at_ms: int


class SqlErasureStore:
    """See `service.store.privacy_ports.ErasureStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def request(self, erasure: Erasure, act: AdminAct) -> None:
        """Insert a request and its act in one transaction."""
        change = partial(_request, erasure=erasure, act=act)
        await self._database.write(change, is_repeatable=False)

    async def get(self, tenant: int, erasure_id: str) -> Erasure:
        """Return a tenant's request, or raise `ErasureNotFoundError`."""
        found = await self._database.read(
            partial(_erasures, condition=(erasures.c.id == erasure_id))
        )
        if not found or found[0].tenant != tenant:
            raise ErasureNotFoundError("no erasure has this id")
        return found[0]

    async def pending(self) -> list[Erasure]:
        """Return the requests of all tenants that are not done, oldest first."""
        return await self._database.read(
            partial(_erasures, condition=erasures.c.done_at_ms.is_(None))
        )

    async def erase(self, erasures: Sequence[Erasure]) -> int:
        """Wipe the decisions that requests concern, in one pass over the ledger."""
        rows = 0
        for start in range(0, len(erasures), _UNITS_AT_ONCE):
            some = erasures[start : start + _UNITS_AT_ONCE]
            units = {erasure.unit for erasure in some}
            # The whole table is read by a reader, whom no writer waits for; the writer is given
            # the few rows that it has to change.
            found = await self._database.read(partial(_found, units=units), is_patient=True)
            for erasure in some:
                rows += await self._wipe(erasure, found)
        return rows

    async def _wipe(self, erasure: Erasure, found: Sequence[_Found]) -> int:
        rows = 0
        for table, some in _batches(erasure, found):
            change = partial(_wipe, erasure_id=erasure.id, table=table, found=some)
            rows += await self._database.write(change, is_patient=True)
        return rows

    async def wait_for(self, erasure_id: str, segments: Sequence[str]) -> None:
        """Note the outbox files that must be gone before a request can be done."""
        values = {"segments": json_text(sorted(segments))}
        await self._database.write(partial(_change, erasure_id=erasure_id, values=values))

    async def committed_segments(self) -> set[str]:
        """Return the outbox files of all machines that SQL knows to exist."""
        query = select(outbox_positions.c.segment)
        return await self._database.read(lambda c: set(c.execute(query).scalars()))

    async def forget(self, erasure: Erasure) -> None:
        """Wipe ids of events that tell the unit, then the unit in the request and its keys."""
        await self._database.write(partial(_forget, erasure=erasure), is_patient=True)

    async def scrub(self) -> bool:
        """Empty SQLite's write-ahead log, which holds pages as they were; False: try again."""
        return await self._database.checkpoint()

    async def finish(self, erasure_id: str, at_ms: int) -> None:
        """Note that a request is done."""
        values = {"done_at_ms": at_ms}
        await self._database.write(partial(_change, erasure_id=erasure_id, values=values))


class SqlRetentionStore:
    """See `service.store.privacy_ports.RetentionStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def watermark_ms(self) -> int:
        """Return up to when decisions were wiped; 0 at first."""
        query = select(retention.c.until_ms).where(retention.c.name == _WATERMARK)
        return await self._database.read(lambda c: c.execute(query).scalar() or 0)

    async def expire(self, since_ms: int, before_ms: int, count: int) -> Expired:
        """Wipe unit and context of decisions made in a time, oldest first; move the watermark."""
        times = (since_ms, before_ms)
        old, beside = await self._database.read(
            partial(_old, times=times, count=count), is_patient=True
        )
        change = partial(_expire, old=old, beside=beside, before_ms=before_ms)
        until_ms = before_ms if len(beside) < count else before_ms - 1
        if len(old) == count:
            until_ms = old[-1].decided_at_ms
        rows = await self._database.write(partial(change, until_ms=until_ms), is_patient=True)
        return Expired(rows, until_ms)


def _request(connection: Connection, erasure: Erasure, act: AdminAct) -> None:
    values = msgspec.structs.asdict(erasure) | {"segments": None}
    connection.execute(insert(erasures).values(values))
    insert_act(connection, act)


def _erasures(connection: Connection, condition: ColumnElement[bool]) -> list[Erasure]:
    query = select(erasures).where(condition)
    query = query.order_by(erasures.c.requested_at_ms, erasures.c.id)
    return [_erasure_of(row) for row in connection.execute(query)]


def _erasure_of(row: Row[Any]) -> Erasure:
    fields = dict(row._mapping)  # noqa: SLF001  Public, in spite of its name.
    if fields["segments"] is not None:
        fields["segments"] = tuple(msgspec.json.decode(fields["segments"]))
    return Erasure(**fields)


def _found(connection: Connection, units: set[str]) -> list[_Found]:
    found = []
    for table in TABLES:
        columns = (table.c.key, table.c.tenant, table.c.unit, table.c.decided_at_ms)
        query = select(identity(table).label("id"), *columns).where(table.c.unit.in_(units))
        found += [_Found(table, *row) for row in connection.execute(query)]
    return found


def _batches(erasure: Erasure, found: Sequence[_Found]) -> Iterator[tuple[Table, Sequence[_Found]]]:
    for table in TABLES:
        own = [
            row
            for row in found
            if row.table is table and erasure.concerns(row.tenant, row.unit, row.decided_at_ms)
        ]
        for start in range(0, len(own), ROWS_AT_ONCE):
            yield table, own[start : start + ROWS_AT_ONCE]


def _wipe(connection: Connection, erasure_id: str, table: Table, found: Sequence[_Found]) -> int:
    keys = [{"erasure": erasure_id, "key": bytes(row.key)} for row in found]
    connection.execute(insert_or_ignore(connection, erased_keys), keys)
    rows = wipe(connection, table, [row.id for row in found])
    _change(connection, erasure_id, {"rows": erasures.c.rows + rows})
    return rows


def _change(connection: Connection, erasure_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(erasures).where(erasures.c.id == erasure_id).values(values))


def _forget(connection: Connection, erasure: Erasure) -> None:
    is_own = erased_keys.c.erasure == erasure.id
    is_meant = rewards.c.received_at_ms <= erasure.until_ms
    unit = literal(erasure.unit)
    wipe_event_ids(connection, serials_telling(connection, erased_keys, unit, is_own, is_meant))
    connection.execute(delete(erased_keys).where(is_own))
    _change(connection, erasure.id, {"unit": "", "segments": "[]"})


def _old(
    connection: Connection, times: tuple[int, int], count: int
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return rows of both tables; the second is small and always looked through from its start."""
    since_ms, before_ms = times
    found = []
    for table, start_ms in ((decisions, since_ms), (conflicting_decisions, 0)):
        at_ms = table.c.decided_at_ms
        query = (
            select(identity(table).label("id"), at_ms)
            .where(at_ms >= start_ms, at_ms < before_ms, table.c.unit != "")
            .order_by(at_ms, identity(table))
            .limit(count)
        )
        found.append(connection.execute(query).all())
    return found[0], found[1]


def _expire(
    connection: Connection,
    old: Sequence[Any],
    beside: Sequence[Any],
    before_ms: int,
    until_ms: int,
) -> int:
    rows = 0
    for table, found in ((decisions, old), (conflicting_decisions, beside)):
        if found:
            ids = [row.id for row in found]
            # Younger rewards stay as they are: the outbox may have to compare them yet.
            chosen = (identity(table).in_(ids), rewards.c.received_at_ms < before_ms)
            telling = serials_telling(connection, table, table.c.unit, *chosen)
            wipe_event_ids(connection, telling)
            rows += wipe(connection, table, ids)
    connection.execute(
        insert_or_ignore(connection, retention).values(name=_WATERMARK, until_ms=until_ms)
    )
    connection.execute(
        update(retention)
        .where(retention.c.name == _WATERMARK, retention.c.until_ms < until_ms)
        .values(until_ms=until_ms)
    )
    return rows
