"""Experiment configurations in SQL: every revision as JSON, and the audit trail."""

from __future__ import annotations

from functools import partial

import msgspec
from sqlalchemy import Connection, select, update

from service.domain.experiment import AuditEntry, Experiment
from service.errors import ExperimentNotFoundError, RevisionConflictError, StateConflictError
from service.store import sql_adoption
from service.store.sql_database import SqlDatabase
from service.store.sql_revisions import NEWEST, by_number, decoded, record
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import audit_trail, experiments


class SqlExperimentStore:
    """See `service.store.ports.ExperimentStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def create(self, experiment: Experiment, actor: str, above: int = 0) -> Experiment:
        """Insert revision 1, assign a `number` above the given one, write the trail."""
        change = partial(_create, experiment=experiment, actor=actor, above=above)
        return await self._database.write(change, is_repeatable=False)

    async def discard(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Take back a creation that was never allocated; False when it was, or is gone."""
        change = partial(sql_adoption.discard, experiment=experiment, actor=actor, at_ms=at_ms)
        return await self._database.write(change, is_repeatable=False)

    async def update(self, experiment: Experiment, action: str, actor: str) -> Experiment:
        """Insert the given revision after its predecessor, and write the trail."""
        change = partial(_update, experiment=experiment, action=action, actor=actor)
        return await self._database.write(change, is_repeatable=False)

    async def adopt(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Insert a configuration under its own number and revision; False when it stands there."""
        change = partial(sql_adoption.adopt, experiment=experiment, actor=actor, at_ms=at_ms)
        return await self._database.write(change, is_repeatable=False)

    async def reserve_numbers(self, highest: int) -> None:
        """Give new experiments only numbers above this one."""
        await self._database.write(partial(sql_adoption.reserve_numbers, highest=highest))

    async def get(self, tenant: int, experiment_id: str) -> Experiment:
        """Return the newest revision, or raise `ExperimentNotFoundError`."""
        return await self._database.read(partial(_get, tenant=tenant, experiment_id=experiment_id))

    async def by_number(self, number: int, revision: int | None = None) -> Experiment:
        """Return a revision (None: the newest), or raise `ExperimentNotFoundError`."""
        return await self._database.read(partial(by_number, number=number, revision=revision))

    async def all(self, tenant: int | None = None) -> list[Experiment]:
        """Return the newest revision of every experiment, in order of number."""
        return await self._database.read(partial(_all, tenant=tenant))

    async def trail(self, tenant: int, experiment_id: str) -> list[AuditEntry]:
        """Return an experiment's administrative acts, oldest first."""
        return await self._database.read(
            partial(_trail, tenant=tenant, experiment_id=experiment_id)
        )


def _create(connection: Connection, experiment: Experiment, actor: str, above: int) -> Experiment:
    if above:  # First of all: what it locks is locked before what the INSERT locks.
        sql_adoption.reserve_numbers(connection, above)
    row = {
        "tenant": experiment.tenant,
        "id": experiment.id,
        "revision": experiment.revision,
        "head_version": 0,
        "created_at_ms": experiment.created_at_ms,
    }
    statement = insert_or_ignore(connection, experiments).values(row)
    number = connection.execute(statement.returning(experiments.c.number)).scalar()
    if number is None:
        raise StateConflictError("the experiment exists already")
    created = msgspec.structs.replace(experiment, number=number)
    record(connection, None, created, (created.created_at_ms, actor, "create"))
    return created


def _update(connection: Connection, experiment: Experiment, action: str, actor: str) -> Experiment:
    before = _get(connection, experiment.tenant, experiment.id)
    moved = (
        update(experiments)
        .where(
            experiments.c.number == before.number,
            experiments.c.revision == experiment.revision - 1,
        )
        .values(revision=experiment.revision)
    )
    # The row decides, not what was read before: on PostgreSQL another update may have come between.
    if connection.execute(moved).rowcount != 1:
        raise RevisionConflictError("the experiment was changed meanwhile")
    updated = msgspec.structs.replace(experiment, number=before.number)
    record(connection, before, updated, (updated.updated_at_ms, actor, action))
    return updated


def _get(connection: Connection, tenant: int, experiment_id: str) -> Experiment:
    query = NEWEST.where(experiments.c.tenant == tenant, experiments.c.id == experiment_id)
    configuration = connection.execute(query).scalar()
    if configuration is None:
        raise ExperimentNotFoundError("no experiment has this id")
    return decoded(configuration)


def _all(connection: Connection, tenant: int | None) -> list[Experiment]:
    query = NEWEST.order_by(experiments.c.number)
    if tenant is not None:
        query = query.where(experiments.c.tenant == tenant)
    return [decoded(row.configuration) for row in connection.execute(query)]


def _trail(connection: Connection, tenant: int, experiment_id: str) -> list[AuditEntry]:
    query = (
        select(audit_trail)
        .where(audit_trail.c.tenant == tenant, audit_trail.c.experiment == experiment_id)
        .order_by(audit_trail.c.id)
    )
    return [
        AuditEntry(
            tenant=row.tenant,
            experiment=row.experiment,
            at_ms=row.at_ms,
            actor=row.actor,
            action=row.action,
            before=None if row.before is None else decoded(row.before),
            after=decoded(row.after),
        )
        for row in connection.execute(query)
    ]
