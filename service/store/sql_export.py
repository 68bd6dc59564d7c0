"""The decisions with their rewards, page by page: for analysts, and to restore the replays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    Tuple,
    func,
    literal,
    select,
    true,
    tuple_,
)

from service.domain.decision import Decision
from service.domain.reward import Reward
from service.store.records import Cursor, LedgerRow
from service.store.sql_rows import decision_of, reward_of
from service.store.sql_tables import UNCONFIRMED, conflicting_decisions, decisions, rewards

Kept = tuple[int, Decision]  # The serial, 0 for the first row of its key, and the decision.

_KEYS_AT_ONCE = 5_000  # Both databases limit the parameters of one statement.
_LATEST = 1_000  # Decisions among which the newest version is named for sure.
_REWARD = [column for column in rewards.columns if column.name != "serial"]


def rows(
    connection: Connection, experiment: int, after: Cursor | None, count: int
) -> tuple[list[LedgerRow], Cursor | None]:
    """Return the page behind a cursor: two ordered lists merged, and their rewards beside."""
    kept = _firsts_after(connection, experiment, after, count + 1)
    kept += _besides_after(connection, experiment, after, count + 1)
    kept.sort(key=_place)
    page = kept[:count]
    keys = list({decision.key for _, decision in page})
    credited = attributed(_all_rows_of(connection, keys), _rewards_of(connection, keys))
    exported = [
        LedgerRow(
            decision=decision,
            counted=decision.is_counted and serial == 0,
            rewards=tuple(credited.get((decision.key, serial), ())),
        )
        for serial, decision in page
    ]
    return exported, cursor_of(page[-1]) if len(kept) > count and page else None


def recent_decisions(
    connection: Connection, since_ms: int, before: Cursor | None, count: int
) -> tuple[list[Decision], Cursor | None]:
    """Return first-committed decisions, newest first, down to a time."""
    return _newest_first(connection, select(decisions), since_ms, before, count)


def unconfirmed_decisions(
    connection: Connection, since_ms: int, before: Cursor | None, count: int
) -> tuple[list[Decision], Cursor | None]:
    """Return those that Redis may not know, from the index that holds nothing else."""
    return _newest_first(connection, select(decisions).where(UNCONFIRMED), since_ms, before, count)


def _newest_first(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    since_ms: int,
    before: Cursor | None,
    count: int,
) -> tuple[list[Decision], Cursor | None]:
    table = decisions.c
    query = query.where(table.decided_at_ms >= since_ms)
    query = query.order_by(table.decided_at_ms.desc(), table.key.desc()).limit(count + 1)
    if before is not None:
        place = tuple_(table.decided_at_ms, table.key)
        query = query.where(place < _bound(before.decided_at_ms, before.key))
    found = list(map(decision_of, connection.execute(query)))
    page = found[:count]
    return page, cursor_of((0, page[-1])) if len(found) > count and page else None


def cursor_of(kept: Kept) -> Cursor:
    """Return the place of a row, from which its successor is found."""
    serial, decision = kept
    return Cursor(decision.decided_at_ms, decision.key, serial)


def attributed(
    candidates: Iterable[Kept], given: Iterable[Reward]
) -> Mapping[tuple[bytes, int], Sequence[Reward]]:
    """Return which row of its key each reward belongs to.

    That is the first row whose variant is the reward's, as its token carried the variant; else
    the first row. `candidates` holds all rows of the keys, each key's in order of serial.
    """
    by_key: dict[bytes, list[Kept]] = defaultdict(list)
    for serial, decision in candidates:
        by_key[decision.key].append((serial, decision))
    credited: dict[tuple[bytes, int], list[Reward]] = defaultdict(list)
    for reward in given:
        own = by_key.get(reward.key, [])
        serials = [serial for serial, decision in own if decision.variant == reward.variant]
        serial = serials[0] if serials else 0
        credited[reward.key, serial].append(reward)
    return credited


def _place(kept: Kept) -> tuple[int, bytes, int]:
    serial, decision = kept
    return decision.decided_at_ms, decision.key, serial


def _bound(decided_at_ms: int, key: bytes, *more: int) -> Tuple:
    return tuple_(literal(decided_at_ms), literal(key, LargeBinary), *map(literal, more))


def _page(
    table: Table, experiment: int, count: int, condition: ColumnElement[bool]
) -> Select[*tuple[Any, ...]]:
    place = (table.c.decided_at_ms, table.c.key)
    query = select(table).where(table.c.experiment == experiment, condition)
    return query.order_by(*place).limit(count)


def _firsts_after(
    connection: Connection, experiment: int, after: Cursor | None, count: int
) -> list[Kept]:
    table = decisions.c
    condition: ColumnElement[bool] = true()
    if after is not None:
        condition = tuple_(table.decided_at_ms, table.key) > _bound(after.decided_at_ms, after.key)
    query = _page(decisions, experiment, count, condition)
    return [(0, decision_of(row)) for row in connection.execute(query)]


def _besides_after(
    connection: Connection, experiment: int, after: Cursor | None, count: int
) -> list[Kept]:
    table = conflicting_decisions.c
    condition: ColumnElement[bool] = true()
    if after is not None:
        condition = tuple_(table.decided_at_ms, table.key, table.serial) > _bound(
            after.decided_at_ms, after.key, after.serial
        )
    query = _page(conflicting_decisions, experiment, count, condition)
    return [_kept(row) for row in connection.execute(query.order_by(table.serial))]


def named_version(connection: Connection, experiment: int) -> int:
    """Return the highest version that the latest decisions name: versions grow with time."""
    latest = (
        select(decisions.c.version)
        .where(decisions.c.experiment == experiment)
        .order_by(decisions.c.decided_at_ms.desc(), decisions.c.key.desc())
        .limit(_LATEST)
        .subquery()
    )
    return connection.execute(select(func.max(latest.c.version))).scalar() or 0


def first_decisions(connection: Connection, keys: Sequence[bytes]) -> list[Decision]:
    """Return the first-committed decisions of keys."""
    found = _by_keys(connection, select(decisions), decisions, list(dict.fromkeys(keys)))
    return [decision_of(row) for row in found]


def _all_rows_of(connection: Connection, keys: Sequence[bytes]) -> Iterator[Kept]:
    """Yield every row of the keys, the first ones first, whatever pages they are on."""
    for row in _by_keys(connection, select(decisions), decisions, keys):
        yield 0, decision_of(row)
    query = select(conflicting_decisions).order_by(conflicting_decisions.c.serial)
    for row in _by_keys(connection, query, conflicting_decisions, keys):
        yield _kept(row)


def _rewards_of(connection: Connection, keys: Sequence[bytes]) -> Iterator[Reward]:
    query = select(*_REWARD).order_by(rewards.c.serial)
    return map(reward_of, _by_keys(connection, query, rewards, keys))


def _by_keys(
    connection: Connection, query: Select[*tuple[Any, ...]], table: Table, keys: Sequence[bytes]
) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        yield from connection.execute(query.where(table.c.key.in_(some)))


def _kept(row: Sequence[Any]) -> Kept:
    serial, *columns = row
    return serial, decision_of(columns)
