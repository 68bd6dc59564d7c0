"""The SQLAlchemy engines: what is peculiar to SQLite and to PostgreSQL about connections."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, cast

import psycopg
from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError

# SQLite's own busy handler backs off to 100 ms and starves behind a busy drain; we ask often.
_LOCK_POLL_SECONDS = 0.0005
_LOCK_SECONDS_MAX = 2.0
_CACHE_KIB = 65_536
# A reader's cache is void as soon as anybody commits: a large one only keeps memory, in each of
# several connections of each process, and grows with the file.
_READER_CACHE_KIB = 2_048
# 32 MB: with random keys, pages are written again and again before they need to go home.
_CHECKPOINT_PAGES = 8_000
_CONNECT_SECONDS_MAX = 2
# Plans are made once, for they take as long as the statements; one made while a table was small
# must not go on reading all of it when it has grown.
_PLANS = {
    "timezone": "UTC",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}
_POOL_MODE, _SESSION = "pool_mode", "session"
POOL_MODES = (_SESSION, "transaction")
# A prepared statement lives in a connection of the server: the next transaction has another one.
_POOLED = {"prepare_threshold": None}
_POSTGRES_17 = 170_000
_IDLE = "idle_in_transaction_session_timeout"

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
PostgresLine: TypeAlias = psycopg.Connection[tuple[object, ...]]
Line: TypeAlias = PostgresLine | sqlite3.Connection


def sqlite_engines(url: URL, timeout_seconds: float, readers: int) -> tuple[Engine, Engine]:
    """Return a writer of one connection and a reader of several, on one file in WAL mode."""
    arguments = {"timeout": min(timeout_seconds, _LOCK_SECONDS_MAX), "check_same_thread": False}
    writer = create_engine(
        url, hide_parameters=True, connect_args=arguments, pool_size=1, max_overflow=0
    )
    reader = create_engine(
        url, hide_parameters=True, connect_args=arguments, pool_size=readers, max_overflow=0
    )
    for engine in (writer, reader):
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(reader, "connect", _prepare_reader)
    event.listen(writer, "begin", _begin_immediately)
    event.listen(reader, "begin", _begin_reading)
    return writer, reader


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # We say BEGIN ourselves: see SQLAlchemy's pysqlite page.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    connection.execute("PRAGMA temp_store=MEMORY")
    # What is erased is overwritten with zeros; appends, which only insert, are as fast as without.
    connection.execute("PRAGMA secure_delete=ON")


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only=1")
    connection.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
    # What a recount sorts grows with the ledger: it goes to a file as soon as it fills the cache.
    connection.execute("PRAGMA temp_store=FILE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediately(connection: Connection) -> None:
    """Take the file's write lock, asking twice a millisecond until the deadline."""
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    deadline = time.perf_counter() + _LOCK_SECONDS_MAX
    driver.execute("PRAGMA busy_timeout=0")
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.perf_counter() > deadline:
                raise
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


def postgres_engines(url: URL, timeout_seconds: float, connections: int) -> tuple[Engine, Engine]:
    """Return two faces of one bounded pool: writing, and reading one snapshot."""
    milliseconds = int(timeout_seconds * 1000)
    is_pooled = is_behind_pooler(url)
    writer = create_engine(
        url.difference_update_query([_POOL_MODE]),
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS_MAX,
            "tcp_user_timeout": milliseconds,
            "application_name": "promobandit",
            **(_POOLED if is_pooled else {"options": _options(milliseconds)}),
        },
    )
    if not is_pooled:
        event.listen(writer, "connect", partial(_bound_transactions, milliseconds=2 * milliseconds))
    event.listen(writer, "handle_error", _leave_if_demoted)
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return writer, reader


def is_behind_pooler(url: URL) -> bool:
    """Whether each transaction may get another connection of the server, as PgBouncer has it."""
    return url.query.get(_POOL_MODE, _SESSION) != _SESSION


def _options(milliseconds: int) -> str:
    # A process that is frozen in a transaction, or whose machine is gone, must not keep its locks:
    # nobody would learn from an experiment whose row it had taken. Only newer servers see an end
    # to what was left in the midst of several statements that were sent at once.
    limits = {"statement_timeout": milliseconds, _IDLE: milliseconds, **_PLANS}
    return " ".join(f"-c {name}={value}" for name, value in limits.items())


def bound_transaction(connection: Connection, seconds: float) -> None:
    """Set for a transaction what the connections of a pooler cannot be given for all of theirs."""
    milliseconds = int(seconds * 1000)
    limits = {"statement_timeout": milliseconds, _IDLE: milliseconds, **_PLANS}
    newer = dict.fromkeys(_newer_limits(_postgres_line(connection)), 2 * milliseconds)
    wishes = (f"set_config('{name}', '{value}', true)" for name, value in (limits | newer).items())
    connection.exec_driver_sql(f"SELECT {', '.join(wishes)}")


def _bound_transactions(line: PostgresLine, _record: object, milliseconds: int) -> None:
    for limit in _newer_limits(line):
        line.execute(f"SET {limit} = {milliseconds}".encode())
    line.commit()


def _newer_limits(line: PostgresLine) -> tuple[str, ...]:
    return ("transaction_timeout",) if line.info.server_version >= _POSTGRES_17 else ()


def _leave_if_demoted(context: ExceptionContext) -> None:
    """Give up connections to a server that takes no writes any more.

    It was demoted in a failover, and who asks anew is led to the one that was promoted.
    """
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.is_disconnect = True


def allow_seconds(connection: Connection, seconds: float) -> None:
    """Let this PostgreSQL transaction take longer than usual, and read whole tables."""
    for limit in ("statement_timeout", _IDLE):
        connection.exec_driver_sql(f"SET LOCAL {limit} = {int(seconds * 1000)}")
    for limit in _newer_limits(_postgres_line(connection)):
        # One that runs cannot be made longer, only ended.
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
    connection.exec_driver_sql("SET LOCAL enable_seqscan = on")


def line_of(connection: Connection) -> Line:
    """Return the driver's connection."""
    return cast(Line, connection.connection.driver_connection)


def _postgres_line(connection: Connection) -> PostgresLine:
    return cast(PostgresLine, connection.connection.driver_connection)


def pipelined(connection: Connection, *statements: Statement) -> list[list[tuple[Any, ...]]]:
    """Run statements of PostgreSQL in one exchange and return the rows of each.

    The driver's own connection is asked, because SQLAlchemy waits for every answer. One that is
    lost is said so to SQLAlchemy, whose error then tells the caller.
    """
    line = _postgres_line(connection)
    cursors: list[psycopg.Cursor[Any]] = []
    try:
        with line.pipeline():
            for statement, parameters in statements:
                cursors.append(line.cursor())
                cursors[-1].execute(statement.encode(), parameters)
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]
    except psycopg.Error as error:
        if line.closed or isinstance(error, ReadOnlySqlTransaction):
            connection.invalidate(error)
            raise DBAPIError(None, None, error, connection_invalidated=True) from error
        raise


def cut(line: Line) -> None:
    """End a conversation, from any thread: the one that waits for the answer gets an error.

    Should the answer have come just now, whoever uses the connection next finds it lost.
    """
    if isinstance(line, sqlite3.Connection):
        with suppress(sqlite3.ProgrammingError):  # It was closed.
            line.interrupt()
        return
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(line.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
