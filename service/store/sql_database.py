"""One SQL database, SQLite or PostgreSQL: its engines, its few threads, its transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from service.errors import LedgerUnavailableError, ServiceError
from service.store import sql_engines, sql_migrations
from service.store.sql_errors import is_disconnect, translated_errors

T = TypeVar("T")

DRIVERS = ("sqlite", "postgresql+psycopg")
TIMEOUT_SECONDS = 5.0
PATIENT_SECONDS = 300.0  # For recounts, thinning and migrations, which nobody waits for.
READERS = 3
REPORTERS = 2
WRITERS = 4


def normalised_url(url: str) -> str:
    """Return a database URL with the driver that we use: psycopg 3 for PostgreSQL."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def database_url(text: str) -> URL:
    """Return a database's address; raises `ValueError`, which never quotes it, for no such one."""
    try:
        url = make_url(normalised_url(text))
    except (SQLAlchemyError, ValueError):
        url = None
    if url is None or url.drivername not in DRIVERS:
        raise ValueError("DATABASE_URL must be sqlite:///path or postgresql://user@host/name")
    if url.query.get("pool_mode", "session") not in sql_engines.POOL_MODES:
        raise ValueError("DATABASE_URL's pool_mode is session or transaction, as of PgBouncer")
    return url


class _Talk:
    """A transaction in its thread, which whoever waits for it can end from without."""

    def __init__(self, talking: set[_Talk]) -> None:
        """`talking` are those of its kind that have a thread, and so a connection."""
        self._talking = talking
        self._line: sql_engines.Line | None = None
        self._is_ended = False

    def begin(self, line: sql_engines.Line) -> None:
        """Note the connection; raises `LedgerUnavailableError` when nobody waits any more."""
        self._line = line
        if self._is_ended:
            raise LedgerUnavailableError("nobody waits for it any more")

    def __enter__(self) -> None:
        self._talking.add(self)

    def __exit__(self, *_: object) -> None:
        self._talking.discard(self)

    def end(self) -> None:
        """Have the thread meet an error instead of an answer."""
        self._is_ended = True
        if self._line is not None:
            sql_engines.cut(self._line)


class SqlDatabase:
    """Runs functions of a connection in transactions, on threads of its own.

    SQLite has one writer thread with one connection: writers of one process queue in order, and
    only those of different processes meet at the file's lock. Readers never wait for writers,
    and nobody waits behind reports: they have threads and connections of their own.
    """

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = database_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._is_pooled = sql_engines.is_behind_pooler(self._url)
        self._timeout_seconds = timeout_seconds
        writers = 1 if self.is_sqlite else WRITERS
        self._writer, self._reader = self._engines(writers + READERS + REPORTERS)
        self._write_threads = ThreadPoolExecutor(writers, "sql-write")
        self._read_threads = ThreadPoolExecutor(READERS, "sql-read")
        self._report_threads = ThreadPoolExecutor(REPORTERS, "sql-report")
        # By transactions, for both kinds may share a pool of connections.
        self._reporting: set[_Talk] = set()
        self._talking: set[_Talk] = set()
        self._limits = (writers + READERS, REPORTERS)

    def _engines(self, connections: int) -> tuple[Engine, Engine]:
        if self.is_sqlite:
            return sql_engines.sqlite_engines(self._url, self._timeout_seconds, READERS + REPORTERS)
        return sql_engines.postgres_engines(self._url, self._timeout_seconds, connections)

    @property
    def usage(self) -> tuple[int, int]:
        """How many connections are in use, and how many may be; not those for reports."""
        return len(self._talking), self._limits[0]

    @property
    def report_usage(self) -> tuple[int, int]:
        """How many connections are in use for reports, and how many may be."""
        return len(self._reporting), self._limits[1]

    async def read(
        self,
        query: Callable[[Connection], T],
        *,
        is_patient: bool = False,
        is_report: bool = False,
    ) -> T:
        """Return what a query says of one snapshot of the database."""
        threads = self._report_threads if is_patient or is_report else self._read_threads
        work = partial(self._run, threads, self._reader, query, is_patient)
        return await _repeated_if_disconnected(work)

    async def write(
        self,
        change: Callable[[Connection], T],
        *,
        is_repeatable: bool = True,
        is_patient: bool = False,
    ) -> T:
        """Run a change in one transaction and return its result once that is committed.

        A repeatable one does no harm when it is done twice.
        """
        work = partial(self._run, self._write_threads, self._writer, change, is_patient)
        return await (_repeated_if_disconnected(work) if is_repeatable else work())

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        engine: Engine,
        work: Callable[[Connection], T],
        is_patient: bool,
    ) -> T:
        # A server that is frozen rather than gone answers no statement timeout of its own.
        deadline = PATIENT_SECONDS if is_patient else self._timeout_seconds
        loop = asyncio.get_running_loop()
        talk = _Talk(self._reporting if threads is self._report_threads else self._talking)
        try:
            async with asyncio.timeout(deadline):
                return await loop.run_in_executor(
                    threads, partial(self._transaction, engine, work, is_patient, talk)
                )
        except TimeoutError as error:
            talk.end()  # Else its thread would wait there for nobody, perhaps for hours.
            raise LedgerUnavailableError("SQL is unavailable: it took too long") from error
        except asyncio.CancelledError:
            if is_patient:  # The end of this process would wait for it; other work is soon done.
                talk.end()
            raise

    def _transaction(
        self,
        engine: Engine,
        work: Callable[[Connection], T],
        is_patient: bool,
        talk: _Talk,
    ) -> T:
        with translated_errors(), talk, engine.begin() as connection:
            talk.begin(sql_engines.line_of(connection))
            if self._is_pooled:
                sql_engines.bound_transaction(connection, self._timeout_seconds)
            if is_patient and not self.is_sqlite:
                sql_engines.allow_seconds(connection, PATIENT_SECONDS)
            return work(connection)

    async def migrate(self) -> None:
        """Bring the schema up to date; processes that start together wait for one another."""
        await self.write(sql_migrations.upgrade, is_repeatable=False, is_patient=True)

    async def is_current(self) -> bool:
        """Return whether the schema is the one that this code was written for."""
        return await self.read(sql_migrations.is_current)

    async def is_reachable(self) -> bool:
        """Return whether SQL answers; never raises."""
        try:
            await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except (ServiceError, SQLAlchemyError, RuntimeError):
            return False
        return True

    async def checkpoint(self) -> bool:
        """Bring SQLite's write-ahead log home and empty it; False while somebody reads in it."""
        if not self.is_sqlite:
            return True
        return await asyncio.get_running_loop().run_in_executor(
            self._write_threads, self._checkpoint
        )

    def _checkpoint(self) -> bool:
        with translated_errors(), closing(self._writer.raw_connection()) as connection:
            # Outside a transaction, where nothing else can be in this process: it is the writer.
            found = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(found[0] == 0)

    async def dispose(self) -> None:
        """Close the threads and connections; transactions under way are ended first."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for threads in (self._write_threads, self._read_threads, self._report_threads):
            threads.shutdown(wait=True, cancel_futures=True)
        self._reader.dispose()
        self._writer.dispose()


async def _repeated_if_disconnected(work: Callable[[], Awaitable[T]]) -> T:
    """Try once more over a new connection: the old one died with a restart of the server."""
    try:
        return await work()
    except LedgerUnavailableError as error:
        if not is_disconnect(error.__cause__):
            raise
    return await work()
