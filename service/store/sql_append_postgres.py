"""The statements of an append on PostgreSQL, whose locks are the experiments' revision rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from service.domain.decision import Decision
from service.store.sql_append import Additions, Answer, Opening, UnlockableError, Wanted
from service.store.sql_engines import Statement, pipelined
from service.store.sql_rows import (
    BUCKET_COLUMNS,
    DECISION_COLUMNS,
    EVIDENCE_COLUMNS,
    PULLS_ADDED,
    PULLS_COLUMNS,
    REWARD_COLUMNS,
    buckets_by_key,
    decision_values,
    evidence_values,
    json_text,
    pulls_values,
    qualified,
    reward_values,
)

_TYPES = {
    "tenant": "bigint",
    "experiment": "bigint",
    "variant": "integer",
    "propensity": "double precision",
    "source": "smallint",
    "status": "smallint",
    "holdout": "boolean",
    "counted": "boolean",
    "converts": "boolean",
    "version": "bigint",
    "key_id": "smallint",
    "decided_at_ms": "bigint",
    "occurred_at_ms": "bigint",
    "received_at_ms": "bigint",
    "hour": "bigint",
    "pulls": "bigint",
    "conversions": "bigint",
    "value_micros_squared": "numeric",
    "revision": "bigint",
}


def _batch(table: str, columns: str, types: Mapping[str, str]) -> str:
    """Return an INSERT whose rows are one JSON parameter; keys stand in it as hexadecimals."""
    names = [name.strip() for name in columns.split(",")]
    typed = ", ".join(f"{name} {types.get(name, 'text')}" for name in names)
    values = ", ".join("decode(r.key, 'hex')" if name == "key" else f"r.{name}" for name in names)
    return (
        f"INSERT INTO {table} ({columns}) SELECT {values}"  # noqa: S608
        f" FROM ROWS FROM (json_to_recordset(%s::json) AS ({typed})) WITH ORDINALITY AS r"
    )


_ORDER = " ORDER BY r.ordinality"
_INSERT_DECISIONS = (
    _batch("decisions", DECISION_COLUMNS, _TYPES) + " ON CONFLICT DO NOTHING RETURNING key"
)
_INSERT_BESIDE = (
    _batch("conflicting_decisions", DECISION_COLUMNS, _TYPES)
    + _ORDER
    + " ON CONFLICT DO NOTHING RETURNING serial"
)
# Serials grow in the order of the batch: a recount credits the same reward with a conversion.
_INSERT_REWARDS = (
    _batch("rewards", REWARD_COLUMNS, _TYPES | {"value_micros": "bigint"})
    + _ORDER
    + " ON CONFLICT DO NOTHING"
)
_REVISIONS = (
    "SELECT experiment, revision FROM evidence_revisions WHERE experiment = ANY(%s::bigint[])"
    " ORDER BY experiment FOR UPDATE"
)
_ADD_REVISIONS = (
    "INSERT INTO evidence_revisions (experiment, revision)"
    " SELECT e, 0 FROM unnest(%s::bigint[]) AS e ORDER BY e ON CONFLICT DO NOTHING"
)
_FIRST_ROWS = (
    "SELECT key, variant, version, decided_at_ms FROM decisions WHERE key = ANY(%s::bytea[])"
)
_REWARDS_OF = (
    "SELECT key, event, event_id, value_micros, status, converts, received_at_ms FROM rewards"
    " WHERE key = ANY(%s::bytea[])"
)
_BUCKETS_OF = (
    f"SELECT {qualified(BUCKET_COLUMNS, 'e')} FROM evidence AS e"  # noqa: S608
    " JOIN unnest(%s::bigint[], %s::text[], %s::integer[], %s::bigint[])"
    " AS w (experiment, segment, variant, hour)"
    " ON e.experiment = w.experiment AND e.segment = w.segment"
    " AND e.variant = w.variant AND e.hour = w.hour"
)
_SAVE_BUCKETS = (
    _batch("evidence", EVIDENCE_COLUMNS, _TYPES | {"value_micros": "numeric"})
    + " ON CONFLICT (experiment, segment, variant, hour) DO UPDATE SET "
    + ", ".join(
        f"{name} = excluded.{name}" for name in map(str.strip, EVIDENCE_COLUMNS.split(",")[4:])
    )
)
_ADD_PULLS = _batch("version_pulls", PULLS_COLUMNS, _TYPES) + PULLS_ADDED
_SAVE_REVISIONS = (
    "UPDATE evidence_revisions AS e SET revision = w.revision"
    " FROM unnest(%s::bigint[], %s::bigint[]) AS w (experiment, revision)"
    " WHERE e.experiment = w.experiment"
)
# One statement, because each costs both sides more than its rows do; empty parts add nothing.
_SAVE = (
    f"WITH r AS ({_INSERT_REWARDS}), e AS ({_SAVE_REVISIONS}), p AS ({_ADD_PULLS}) {_SAVE_BUCKETS}"
)
_POSITION = "SELECT position FROM outbox_positions WHERE segment = %s"
_SAVE_POSITION = (
    "INSERT INTO outbox_positions (segment, position, at_ms)"
    " VALUES (%s, %s, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
    " ON CONFLICT (segment) DO UPDATE SET position = excluded.position, at_ms = excluded.at_ms"
    " WHERE excluded.position > outbox_positions.position"
)
_DECISION_NAMES = [name.strip() for name in DECISION_COLUMNS.split(",")]
_REWARD_NAMES = [name.strip() for name in REWARD_COLUMNS.split(",")]
_EVIDENCE_NAMES = [name.strip() for name in EVIDENCE_COLUMNS.split(",")]
_PULLS_NAMES = [name.strip() for name in PULLS_COLUMNS.split(",")]


def add_revisions(connection: Connection, experiments: Sequence[int]) -> None:
    """Give experiments the rows that an append locks, at revision 0."""
    connection.exec_driver_sql(_ADD_REVISIONS, (list(experiments),))


def _keyed(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> tuple[str]:
    """Return rows that start with a decision key as one JSON parameter."""
    return (json_text([dict(zip(names, (key.hex(), *row), strict=True)) for key, *row in rows]),)


class PostgresAppend:
    """See `AppendStatements`; READ COMMITTED shows each statement what was committed before it."""

    def open(self, connection: Connection, wanted: Wanted) -> Opening:
        """Lock and read in one exchange; `UnlockableError` where there is no row to lock."""
        columns = tuple(list(column) for column in zip(*wanted.buckets, strict=True))
        statements: list[Statement] = [
            (_REVISIONS, (list(wanted.experiments),)),
            (_REWARDS_OF, (list(wanted.keys),)),
            (_BUCKETS_OF, columns or ([], [], [], [])),
        ]
        if wanted.segment is not None:
            statements.append((_POSITION, (wanted.segment,)))
        locked, rewards, found, *positions = pipelined(connection, *statements)
        revisions = dict(locked)
        if len(revisions) < len(wanted.experiments):
            raise UnlockableError([e for e in wanted.experiments if e not in revisions])
        position = positions[0][0][0] if positions and positions[0] else 0
        return Opening(revisions, rewards, buckets_by_key(found), position)

    def insert_decisions(
        self, connection: Connection, decisions: Sequence[Decision]
    ) -> dict[bytes, Answer]:
        """Insert what is new, and return what stood there for the keys that were not."""
        parameters = _keyed(_DECISION_NAMES, map(decision_values, decisions))
        new = {row[0] for row in connection.exec_driver_sql(_INSERT_DECISIONS, parameters)}
        old = [decision.key for decision in decisions if decision.key not in new]
        if not old:
            return {}
        rows = connection.exec_driver_sql(_FIRST_ROWS, (old,))
        return {key: Answer(*answer) for key, *answer in rows}

    def keep_beside(self, connection: Connection, decisions: Sequence[Decision]) -> int:
        """Insert differing answers unless they are there, and return how many were not."""
        parameters = _keyed(_DECISION_NAMES, map(decision_values, decisions))
        return len(connection.exec_driver_sql(_INSERT_BESIDE, parameters).fetchall())

    def save(self, connection: Connection, additions: Additions) -> None:
        """Insert new rewards in their order, write what was counted, move the position."""
        revisions = additions.revisions
        rewards = _keyed(_REWARD_NAMES, map(reward_values, additions.rewards))
        rows = [evidence_values(b, revisions[b.key.experiment]) for b in additions.buckets]
        buckets = json_text([dict(zip(_EVIDENCE_NAMES, row, strict=True)) for row in rows])
        added = pulls_values(additions.pulls, revisions)
        pulls = json_text([dict(zip(_PULLS_NAMES, row, strict=True)) for row in added])
        numbers = (list(revisions), list(revisions.values()))
        statements: list[Statement] = [(_SAVE, (*rewards, *numbers, pulls, buckets))]
        if additions.position is not None:
            position = (additions.position.segment, additions.position.offset)
            statements.append((_SAVE_POSITION, position))
        # The commit is the caller's last step anyway, and here it costs no exchange of its own.
        pipelined(connection, *statements, ("COMMIT", ()))
