"""Put configurations back into SQL that it had before it failed over to an older state."""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import Connection, delete, insert, select, update

from service.domain.experiment import Experiment
from service.errors import ExperimentNotFoundError, StateConflictError
from service.store.sql_revisions import by_number, keep, keep_line, record
from service.store.sql_tables import experiment_revisions, experiments

ACTION, DISCARD = "adopt", "discard"
_SEQUENCE = "pg_get_serial_sequence('experiments', 'number')"
# Whoever inserts or moves experiments waits for the lock, creations with their next number not yet
# drawn. It is always the first that a transaction takes: two that took it after a row of the table
# would wait for one another, and what was read before it may be changed by those it waited for.
_POSTGRES_LOCK = "LOCK TABLE experiments IN SHARE ROW EXCLUSIVE MODE"
_POSTGRES_RESERVE = (
    f"SELECT setval({_SEQUENCE}, %s)"
    f" WHERE %s > COALESCE(pg_sequence_last_value({_SEQUENCE}::regclass), 0)"
)
_SQLITE_START = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'experiments', 0"
    " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'experiments')"
)
_SQLITE_RESERVE = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'experiments'"


def adopt(connection: Connection, experiment: Experiment, actor: str, at_ms: int) -> bool:
    """Insert a configuration under its own number and revision; False when it stands there."""
    _lock(connection)
    newest = _newest(connection, experiment)
    act = (at_ms, actor, ACTION)
    if newest is None:
        _insert(connection, experiment)
        record(connection, None, experiment, act)
        return True
    if newest.revision < experiment.revision:
        _move(connection, experiment)
        record(connection, newest, experiment, act)
        return True
    try:
        standing = by_number(connection, experiment.number, experiment.revision)
    except ExperimentNotFoundError:
        keep(connection, experiment, at_ms, actor)
        return True
    if standing == experiment or newest.revision > experiment.revision:
        return False
    again = replace(newest, revision=newest.revision + 1)
    _move(connection, again)
    record(connection, experiment, again, act)
    return True


def discard(connection: Connection, experiment: Experiment, actor: str, at_ms: int) -> bool:
    """Delete an experiment that was never allocated; False when it was, or is gone."""
    _lock(connection)
    mine = (experiments.c.number == experiment.number) & (experiments.c.id == experiment.id)
    unused = mine & (experiments.c.tenant == experiment.tenant) & (experiments.c.head_version == 0)
    if connection.execute(delete(experiments).where(unused)).rowcount != 1:
        return False
    # With a line of the trail, which stays; the revisions go.
    keep_line(connection, experiment, experiment, (at_ms, actor, DISCARD))
    gone = experiment_revisions.c.experiment == experiment.number
    connection.execute(delete(experiment_revisions).where(gone))
    return True


def _lock(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":  # There all writers queue anyway.
        connection.exec_driver_sql(_POSTGRES_LOCK)


def reserve_numbers(connection: Connection, highest: int) -> None:
    """Give new experiments only numbers above this one."""
    _lock(connection)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_SQLITE_START)
        connection.exec_driver_sql(_SQLITE_RESERVE, (highest,))
    else:
        connection.exec_driver_sql(_POSTGRES_RESERVE, (highest, highest))


def _newest(connection: Connection, experiment: Experiment) -> Experiment | None:
    """Return the newest revision that stands; raises `StateConflictError` for another's."""
    named = (experiments.c.tenant == experiment.tenant) & (experiments.c.id == experiment.id)
    query = select(experiments.c.number).where(named | (experiments.c.number == experiment.number))
    numbers = list(connection.execute(query).scalars())
    if not numbers:
        return None
    newest = by_number(connection, numbers[0])
    mine = (experiment.tenant, experiment.id, experiment.salt)
    if numbers != [experiment.number] or (newest.tenant, newest.id, newest.salt) != mine:
        raise StateConflictError("the experiment's number or id belongs to another one")
    return newest


def _insert(connection: Connection, experiment: Experiment) -> None:
    connection.execute(
        insert(experiments).values(
            number=experiment.number,
            tenant=experiment.tenant,
            id=experiment.id,
            revision=experiment.revision,
            head_version=0,
            created_at_ms=experiment.created_at_ms,
        )
    )
    reserve_numbers(connection, experiment.number)


def _move(connection: Connection, experiment: Experiment) -> None:
    moved = update(experiments).where(experiments.c.number == experiment.number)
    connection.execute(moved.values(revision=experiment.revision))
