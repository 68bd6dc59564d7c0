"""Experiment configurations in SQL: every revision as JSON, and the audit trail."""

from __future__ import annotations

from functools import partial

import msgspec
from sqlalchemy import Connection, insert, select, update

from service.domain.experiment import AuditEntry, Experiment
from service.errors import ExperimentNotFoundError, RevisionConflictError, StateConflictError
from service.store.sql_database import SqlDatabase
from service.store.sql_rows import json_text
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables import audit_trail, experiment_revisions, experiments

_decoder = msgspec.json.Decoder(Experiment)
_NEWEST = select(experiment_revisions.c.configuration).join_from(
    experiments,
    experiment_revisions,
    (experiment_revisions.c.experiment == experiments.c.number)
    & (experiment_revisions.c.revision == experiments.c.revision),
)


class SqlExperimentStore:
    """See `service.store.ports.ExperimentStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def create(self, experiment: Experiment, actor: str) -> Experiment:
        """Insert revision 1, assign `number`, write the trail."""
        change = partial(_create, experiment=experiment, actor=actor)
        return await self._database.write(change, is_repeatable=False)

    async def update(self, experiment: Experiment, action: str, actor: str) -> Experiment:
        """Insert the given revision after its predecessor, and write the trail."""
        change = partial(_update, experiment=experiment, action=action, actor=actor)
        return await self._database.write(change, is_repeatable=False)

    async def get(self, tenant: int, experiment_id: str) -> Experiment:
        """Return the newest revision, or raise `ExperimentNotFoundError`."""
        return await self._database.read(partial(_get, tenant=tenant, experiment_id=experiment_id))

    async def by_number(self, number: int, revision: int | None = None) -> Experiment:
        """Return a revision (None: the newest), or raise `ExperimentNotFoundError`."""
        return await self._database.read(partial(_by_number, number=number, revision=revision))

    async def all(self, tenant: int | None = None) -> list[Experiment]:
        """Return the newest revision of every experiment, in order of number."""
        return await self._database.read(partial(_all, tenant=tenant))

    async def trail(self, tenant: int, experiment_id: str) -> list[AuditEntry]:
        """Return an experiment's administrative acts, oldest first."""
        return await self._database.read(
            partial(_trail, tenant=tenant, experiment_id=experiment_id)
        )


def _create(connection: Connection, experiment: Experiment, actor: str) -> Experiment:
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
        raise StateConflictError(f"experiment {experiment.id} exists already")
    created = msgspec.structs.replace(experiment, number=number)
    _record(connection, None, created, "create", actor)
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
        raise RevisionConflictError(f"experiment {experiment.id} was changed meanwhile")
    updated = msgspec.structs.replace(experiment, number=before.number)
    _record(connection, before, updated, action, actor)
    return updated


def _record(
    connection: Connection, before: Experiment | None, after: Experiment, action: str, actor: str
) -> None:
    """Keep a revision, and who made it of what."""
    configuration = json_text(after)
    at_ms = after.created_at_ms if before is None else after.updated_at_ms
    connection.execute(
        insert(experiment_revisions).values(
            experiment=after.number,
            revision=after.revision,
            at_ms=at_ms,
            actor=actor,
            configuration=configuration,
        )
    )
    connection.execute(
        insert(audit_trail).values(
            tenant=after.tenant,
            experiment=after.id,
            at_ms=at_ms,
            actor=actor,
            action=action,
            before=None if before is None else json_text(before),
            after=configuration,
        )
    )


def _get(connection: Connection, tenant: int, experiment_id: str) -> Experiment:
    query = _NEWEST.where(experiments.c.tenant == tenant, experiments.c.id == experiment_id)
    configuration = connection.execute(query).scalar()
    if configuration is None:
        raise ExperimentNotFoundError(f"there is no experiment {experiment_id}")
    return _decoder.decode(configuration)


def _by_number(connection: Connection, number: int, revision: int | None) -> Experiment:
    query = _NEWEST.where(experiments.c.number == number)
    if revision is not None:
        query = select(experiment_revisions.c.configuration).where(
            experiment_revisions.c.experiment == number,
            experiment_revisions.c.revision == revision,
        )
    configuration = connection.execute(query).scalar()
    if configuration is None:
        raise ExperimentNotFoundError(f"there is no experiment of number {number}")
    return _decoder.decode(configuration)


def _all(connection: Connection, tenant: int | None) -> list[Experiment]:
    query = _NEWEST.order_by(experiments.c.number)
    if tenant is not None:
        query = query.where(experiments.c.tenant == tenant)
    return [_decoder.decode(row.configuration) for row in connection.execute(query)]


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
            before=None if row.before is None else _decoder.decode(row.before),
            after=_decoder.decode(row.after),
        )
        for row in connection.execute(query)
    ]
