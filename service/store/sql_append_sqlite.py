"""The statements of an append on SQLite, whose write lock is the whole file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from service.domain.decision import Decision
from service.store.sql_append import Additions, Answer, Opening, Wanted
from service.store.sql_rows import (
    BUCKET_COLUMNS,
    DECISION_COLUMNS,
    EVIDENCE_COLUMNS,
    PULLS_ADDED,
    PULLS_COLUMNS,
    REWARD_COLUMNS,
    Row,
    buckets_by_key,
    decision_values,
    evidence_values,
    json_text,
    pulls_values,
    qualified,
    reward_values,
)

# Keys arrive as one blob and are cut up there: one statement text for any number of them, and
# nothing to escape. CROSS JOIN keeps SQLite from turning the loops around.
_KEYS = "FROM json_each(?) AS start CROSS JOIN {} AS t ON t.key = substr(?, start.value, 16)"
# S608: only names of tables and columns are put into these texts.
_FIRST_ROWS = f"SELECT t.key, t.variant, t.version, t.decided_at_ms {_KEYS}".format("decisions")
_REWARDS_OF = (
    "SELECT t.key, t.event, t.event_id, t.value_micros, t.status, t.converts, t.received_at_ms"
    f" {_KEYS}"
).format("rewards")


def _insert(table: str, columns: str) -> str:
    places = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608


_INSERT_DECISIONS = _insert("decisions", DECISION_COLUMNS)
_INSERT_BESIDE = _insert("conflicting_decisions", DECISION_COLUMNS) + " ON CONFLICT DO NOTHING"
_INSERT_REWARDS = _insert("rewards", REWARD_COLUMNS)
_BUCKETS_OF = (
    f"SELECT {qualified(BUCKET_COLUMNS, 'e')} FROM json_each(?) AS wanted"  # noqa: S608
    " CROSS JOIN evidence AS e ON e.experiment = json_extract(wanted.value, '$[0]')"
    " AND e.segment = json_extract(wanted.value, '$[1]')"
    " AND e.variant = json_extract(wanted.value, '$[2]')"
    " AND e.hour = json_extract(wanted.value, '$[3]')"
)
_SAVE_BUCKETS = _insert("evidence", EVIDENCE_COLUMNS).replace("INSERT", "INSERT OR REPLACE", 1)
_ADD_PULLS = _insert("version_pulls", PULLS_COLUMNS) + PULLS_ADDED
_REVISIONS = (
    "SELECT experiment, revision FROM evidence_revisions"
    " WHERE experiment IN (SELECT value FROM json_each(?))"
)
_SAVE_REVISIONS = "INSERT OR REPLACE INTO evidence_revisions (experiment, revision) VALUES (?, ?)"
_POSITION = "SELECT position FROM outbox_positions WHERE segment = ?"
_SAVE_POSITION = (
    "INSERT INTO outbox_positions (segment, position, at_ms)"
    " VALUES (?, ?, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))"
    " ON CONFLICT (segment) DO UPDATE SET position = excluded.position, at_ms = excluded.at_ms"
    " WHERE excluded.position > outbox_positions.position"
)


def _starts(count: int) -> str:
    return json_text(list(range(1, 1 + 16 * count, 16)))


def _by_keys(connection: Connection, statement: str, keys: Sequence[bytes]) -> Sequence[Row]:
    parameters: tuple[Any, ...] = (_starts(len(keys)), b"".join(keys))
    return connection.exec_driver_sql(statement, parameters).fetchall()


class SqliteAppend:
    """See `AppendStatements`; BEGIN IMMEDIATE has locked everything already.

    So what is there can be read first, and what is not inserted by `executemany`, which beats a
    JSON parameter here: nothing travels, and values are bound as they are.
    """

    def open(self, connection: Connection, wanted: Wanted) -> Opening:
        """Read what there is; an experiment without a revision is at 0."""
        rows = connection.exec_driver_sql(_REVISIONS, (json_text(wanted.experiments),))
        revisions: dict[int, int] = dict(tuple(row) for row in rows)
        rewards = _by_keys(connection, _REWARDS_OF, wanted.keys) if wanted.keys else ()
        found = connection.exec_driver_sql(_BUCKETS_OF, (json_text(wanted.buckets),))
        position = 0
        if wanted.segment is not None:
            position = connection.exec_driver_sql(_POSITION, (wanted.segment,)).scalar() or 0
        return Opening(revisions, rewards, buckets_by_key(found), position)

    def insert_decisions(
        self, connection: Connection, decisions: Sequence[Decision]
    ) -> dict[bytes, Answer]:
        """Insert what is new, and return what stood there for the keys that were not."""
        rows = _by_keys(connection, _FIRST_ROWS, [decision.key for decision in decisions])
        stored = {key: Answer(*answer) for key, *answer in rows}
        new = [decision_values(decision) for decision in decisions if decision.key not in stored]
        if new:
            connection.exec_driver_sql(_INSERT_DECISIONS, new)
        return stored

    def keep_beside(self, connection: Connection, decisions: Sequence[Decision]) -> int:
        """Insert differing answers unless they are there, and return how many were not."""
        values = [decision_values(decision) for decision in decisions]
        return connection.exec_driver_sql(_INSERT_BESIDE, values).rowcount

    def save(self, connection: Connection, additions: Additions) -> None:
        """Insert new rewards in their order, write what was counted, move the position."""
        revisions = additions.revisions
        if additions.rewards:
            rewards = [reward_values(reward) for reward in additions.rewards]
            connection.exec_driver_sql(_INSERT_REWARDS, rewards)
        if additions.buckets:
            rows = [evidence_values(b, revisions[b.key.experiment]) for b in additions.buckets]
            connection.exec_driver_sql(_SAVE_BUCKETS, rows)
            connection.exec_driver_sql(_SAVE_REVISIONS, list(revisions.items()))
        if additions.pulls:
            connection.exec_driver_sql(_ADD_PULLS, pulls_values(additions.pulls, revisions))
        if additions.position is not None:
            position = (additions.position.segment, additions.position.offset)
            connection.exec_driver_sql(_SAVE_POSITION, position)
