"""States of quality checks in SQL, and what those checks read of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, case, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.clock import HOUR_MS
from service.domain.quality import (
    CheckState,
    HourCounts,
    Outcome,
    QualityState,
    Tally,
    TallyKey,
)
from service.domain.reward import RewardStatus
from service.store import sql_tallies
from service.store.sql_database import SqlDatabase
from service.store.sql_tables import decisions, evidence, rewards
from service.store.sql_tables_quality import quality_marks, quality_states

RECENT_REWARDS = 1_000
_ORPHANS = "orphans"
_KEY = ("experiment", "name")
_encode = msgspec.json.Encoder().encode
_figures = msgspec.json.Decoder(dict[str, float])
_delays = msgspec.json.Decoder(dict[int, int])


class SqlQualityStates:
    """See `service.store.quality_ports.QualityStates`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def save(self, states: Sequence[QualityState]) -> None:
        """Insert or replace states, by (experiment, check)."""
        if states:
            await self._database.write(partial(_save, states=states))

    async def of_experiment(self, experiment: int) -> list[QualityState]:
        """Return an experiment's states, in order of the check's name."""
        return await self._database.read(partial(_states, experiment=experiment))

    async def all(self) -> list[QualityState]:
        """Return every state, in order of (experiment, check)."""
        return await self._database.read(partial(_states, experiment=None))


class SqlQualityEvidence:
    """See `service.store.quality_ports.QualityEvidence`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def hours(self, experiment: int, since_hour: int) -> list[HourCounts]:
        """Return the evidence of decisions of an hour and later, in order of (variant, hour)."""
        return await self._database.read(partial(_hours, experiment=experiment, since=since_hour))

    async def last_accepted_ms(self, experiment: int) -> int | None:
        """Return when the last reward that counts was received, or None."""
        return await self._database.read(partial(_last_accepted_ms, experiment=experiment))

    async def newest_reward(self) -> int:
        """Return the highest serial number of a reward, 0 without any."""
        query = select(func.max(rewards.c.serial))
        return await self._database.read(
            lambda connection: int(connection.execute(query).scalar() or 0)
        )

    async def tally_orphans(self, until: int, count: int) -> bool:
        """Tally rewards by whether their decision stands in the ledger, each reward once."""
        return await self._database.write(partial(_tally_orphans, until=until, count=count))


def _save(connection: Connection, states: Sequence[QualityState]) -> None:
    rows = [
        {
            "experiment": state.experiment,
            "name": state.check,
            "state": int(state.state),
            "since_ms": state.since_ms,
            "checked_at_ms": state.checked_at_ms,
            "sentence": state.sentence,
            "figures": _encode(state.figures).decode(),
        }
        for state in sorted(states, key=lambda each: (each.experiment, each.check))
    ]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(quality_states)
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in _KEY}
    connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=replaced), rows)


def _states(connection: Connection, experiment: int | None) -> list[QualityState]:
    query = select(quality_states).order_by(quality_states.c.experiment, quality_states.c.name)
    if experiment is not None:
        query = query.where(quality_states.c.experiment == experiment)
    return [
        QualityState(
            experiment=row.experiment,
            check=row.name,
            state=CheckState(row.state),
            since_ms=row.since_ms,
            checked_at_ms=row.checked_at_ms,
            sentence=row.sentence,
            figures=_figures.decode(row.figures),
        )
        for row in connection.execute(query)
    ]


def _hours(connection: Connection, experiment: int, since: int) -> list[HourCounts]:
    table = evidence.c
    query = (
        select(
            table.variant,
            table.hour,
            table.pulls,
            table.conversions,
            table.value_micros,
            table.value_micros_squared,
            table.delays,
        )
        .where(table.experiment == experiment, table.segment == "", table.hour >= since)
        .order_by(table.variant, table.hour)
    )
    return [_hour(row) for row in connection.execute(query)]


def _hour(row: Any) -> HourCounts:  # noqa: ANN401  A row of SQLAlchemy has no other type.
    variant, hour, pulls, conversions, value, squares, delays = row
    # Sums of money outgrow 64 bits: they travel as text or as decimals.
    return HourCounts(
        variant, hour, pulls, conversions, int(value), int(squares), _delays.decode(delays)
    )


def _last_accepted_ms(connection: Connection, experiment: int) -> int | None:
    recent = (
        select(rewards.c.serial, rewards.c.status, rewards.c.received_at_ms)
        .where(rewards.c.experiment == experiment)
        .order_by(rewards.c.serial.desc())
        .limit(RECENT_REWARDS)
        .subquery()
    )
    is_accepted = recent.c.status == int(RewardStatus.accepted)
    return connection.execute(select(func.max(recent.c.received_at_ms)).where(is_accepted)).scalar()


def _tally_orphans(connection: Connection, until: int, count: int) -> bool:
    mark = select(quality_marks.c.serial).where(quality_marks.c.name == _ORPHANS)
    after = connection.execute(mark.with_for_update()).scalar()
    if after is None:
        connection.execute(insert(quality_marks).values(name=_ORPHANS, serial=until))
        return False
    looked_at = (
        select(rewards.c.serial, rewards.c.experiment, rewards.c.received_at_ms, rewards.c.key)
        .where(rewards.c.serial > after, rewards.c.serial <= until)
        .order_by(rewards.c.serial)
        .limit(count)
        .subquery()
    )
    outcome = case((decisions.c.key.is_(None), str(Outcome.orphan)), else_=str(Outcome.found))
    query = select(
        looked_at.c.serial, looked_at.c.experiment, looked_at.c.received_at_ms, outcome
    ).select_from(looked_at.outerjoin(decisions, decisions.c.key == looked_at.c.key))
    rows = connection.execute(query).all()
    counts = Counter(TallyKey(row[1], row[2] // HOUR_MS, Outcome(row[3])) for row in rows)
    sql_tallies.add(connection, {key: Tally(number) for key, number in counts.items()})
    reached = max((row[0] for row in rows), default=until) if len(rows) == count else until
    is_orphans = quality_marks.c.name == _ORPHANS
    connection.execute(update(quality_marks).where(is_orphans).values(serial=max(after, reached)))
    return reached < until
