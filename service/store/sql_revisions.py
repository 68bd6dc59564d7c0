"""Revisions of experiments in SQL: how one is kept with its line of the trail, and found again."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select

from service.domain.experiment import Experiment
from service.errors import ExperimentNotFoundError
from service.store.sql_rows import json_text
from service.store.sql_tables import audit_trail, experiment_revisions, experiments

decoded = msgspec.json.Decoder(Experiment).decode
NEWEST = select(experiment_revisions.c.configuration).join_from(
    experiments,
    experiment_revisions,
    (experiment_revisions.c.experiment == experiments.c.number)
    & (experiment_revisions.c.revision == experiments.c.revision),
)

Act = tuple[int, str, str]  # When, who, what.


def record(connection: Connection, before: Experiment | None, after: Experiment, act: Act) -> None:
    """Keep a revision, and who made it of what."""
    at_ms, actor, _ = act
    keep(connection, after, at_ms, actor)
    keep_line(connection, before, after, act)


def keep_line(
    connection: Connection, before: Experiment | None, after: Experiment, act: Act
) -> None:
    """Keep a line of the trail."""
    at_ms, actor, action = act
    connection.execute(
        insert(audit_trail).values(
            tenant=after.tenant,
            experiment=after.id,
            at_ms=at_ms,
            actor=actor,
            action=action,
            before=None if before is None else json_text(before),
            after=json_text(after),
        )
    )


def keep(connection: Connection, experiment: Experiment, at_ms: int, actor: str) -> None:
    """Keep a revision without a line of the trail."""
    connection.execute(
        insert(experiment_revisions).values(
            experiment=experiment.number,
            revision=experiment.revision,
            at_ms=at_ms,
            actor=actor,
            configuration=json_text(experiment),
        )
    )


def by_number(connection: Connection, number: int, revision: int | None = None) -> Experiment:
    """Return a revision (None: the newest), or raise `ExperimentNotFoundError`."""
    query = NEWEST.where(experiments.c.number == number)
    if revision is not None:
        query = select(experiment_revisions.c.configuration).where(
            experiment_revisions.c.experiment == number,
            experiment_revisions.c.revision == revision,
        )
    configuration = connection.execute(query).scalar()
    if configuration is None:
        raise ExperimentNotFoundError("no experiment has this number")
    return decoded(configuration)
