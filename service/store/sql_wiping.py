"""The statements that wipe a decision: its row and its key stay, the unit and the context go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    case,
    func,
    null,
    select,
    update,
)

from service.store.sql_tables import conflicting_decisions, decisions, rewards

TABLES = (decisions, conflicting_decisions)
ROWS_AT_ONCE = 1_000  # Of one transaction: nobody waits long behind it, on SQLite neither.
_EVENT_ID_MARK = "~"


def identity(table: Table) -> Column[Any]:
    """Return the column that finds a row of one of the two tables."""
    return decisions.c.key if table is decisions else table.c.serial


def wipe(connection: Connection, table: Table, ids: Sequence[Any]) -> int:
    """Wipe rows by their identity; return how many told a unit."""
    tells = _place_in(connection, table.c.occasion, table.c.unit) > 0
    statement = (
        update(table)
        .where(identity(table).in_(ids), table.c.unit != "")
        .values(occasion=case((tells, ""), else_=table.c.occasion), unit="", context=null())
    )
    return connection.execute(statement).rowcount


def serials_telling(
    connection: Connection, table: Table, unit: ColumnElement[str], *conditions: ColumnElement[bool]
) -> list[int]:
    """Return the rewards whose event id holds a unit; `table` has their keys."""
    query = (
        select(rewards.c.serial)
        .join(table, table.c.key == rewards.c.key)
        .where(unit != "", _place_in(connection, rewards.c.event_id, unit) > 0, *conditions)
    )
    return [serial for (serial,) in connection.execute(query)]


def wipe_event_ids(connection: Connection, serials: Sequence[int]) -> None:
    """Give rewards random event ids: they stay apart from one another, and tell nothing."""
    if serials:
        statement = update(rewards).where(rewards.c.serial == bindparam("of"))
        connection.execute(
            statement.values(event_id=bindparam("instead")),
            [
                {"of": serial, "instead": _EVENT_ID_MARK + os.urandom(16).hex()}
                for serial in serials
            ],
        )


def _place_in(
    connection: Connection, text: ColumnElement[str], part: ColumnElement[str]
) -> ColumnElement[int]:
    function = func.instr if connection.dialect.name == "sqlite" else func.strpos
    return function(text, part)
