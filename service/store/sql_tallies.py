"""Tallies of rewards in SQL: additive rows, one per experiment, hour of arrival and outcome."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.quality import Outcome, Tally, TallyKey
from service.store.sql_database import SqlDatabase
from service.store.sql_tables_quality import reward_outcomes

ROWS_PER_INSERT = 500
_KEY = ("experiment", "hour", "outcome")


class SqlTallyStore:
    """See `service.store.quality_ports.TallyStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, tallies: Mapping[TallyKey, Tally]) -> None:
        """Add to what stands there; an error may mean that they were added or not."""
        if tallies:
            await self._database.write(partial(add, tallies=tallies), is_repeatable=False)

    async def rows(self, experiment: int, since_hour: int) -> dict[TallyKey, Tally]:
        """Return an experiment's tallies of an hour and later."""
        table = reward_outcomes.c
        query = select(reward_outcomes).where(
            table.experiment == experiment, table.hour >= since_hour
        )
        found = await self._database.read(lambda connection: connection.execute(query).all())
        return {TallyKey(r[0], r[1], Outcome(r[2])): Tally(*r[3:]) for r in found}

    async def totals(self, since_hour: int) -> dict[int, int]:
        """Return how many rewards every experiment was sent in an hour and later."""
        table = reward_outcomes.c
        query = (
            select(table.experiment, func.sum(table["count"]))
            .where(table.hour >= since_hour)
            .group_by(table.experiment)
        )
        found = await self._database.read(lambda connection: connection.execute(query).all())
        return {row[0]: int(row[1]) for row in found}

    async def expire(self, before_hour: int, count: int) -> int:
        """Delete the tallies of earlier hours, so many at most; return how many went."""
        table = reward_outcomes.c
        key = [table[name] for name in _KEY]
        old = select(*key).where(table.hour < before_hour).order_by(table.hour).limit(count)
        statement = delete(reward_outcomes).where(tuple_(*key).in_(old))
        return await self._database.write(
            lambda connection: connection.execute(statement).rowcount, is_patient=True
        )


def add(connection: Connection, tallies: Mapping[TallyKey, Tally]) -> None:
    """Add tallies, always in one order: else two writers could wait for one another."""
    rows = [_values(key, tallies[key]) for key in sorted(tallies)]
    statement = _upsert(connection)
    for start in range(0, len(rows), ROWS_PER_INSERT):
        connection.execute(statement, rows[start : start + ROWS_PER_INSERT])


def _values(key: TallyKey, tally: Tally) -> dict[str, Any]:
    return {
        "experiment": key.experiment,
        "hour": key.hour,
        "outcome": str(key.outcome),
        "count": tally.count,
        "largest_micros": tally.largest_micros,
        "smallest_micros": tally.smallest_micros,
        "lag_ms": tally.lag_ms,
    }


def _upsert(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        own = sqlite.insert(reward_outcomes)
        replaced = _joined(reward_outcomes.c, own.excluded, (func.max, func.min))
        return own.on_conflict_do_update(index_elements=_KEY, set_=replaced)
    other = postgresql.insert(reward_outcomes)
    replaced = _joined(reward_outcomes.c, other.excluded, (func.greatest, func.least))
    return other.on_conflict_do_update(index_elements=_KEY, set_=replaced)


def _joined(table: Any, new: Any, ends: tuple[Any, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Return what a row becomes: `service.domain.quality.joined` in SQL."""
    most, least = ends
    return {
        "count": table["count"] + new["count"],
        "largest_micros": most(table.largest_micros, new.largest_micros),
        "smallest_micros": least(table.smallest_micros, new.smallest_micros),
        "lag_ms": most(table.lag_ms, new.lag_ms),
    }
