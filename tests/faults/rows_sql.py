"""What can happen to SQL: choices go on, rewards are queued, and nothing is learned meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import httpx
import psycopg

from tests.faults.load import Plan
from tests.faults.parts import Sqlite
from tests.faults.proxy import Mode
from tests.faults.scenario import Fault, Lab, Scenario
from tests.faults.stack import Layout, Stack

CONNECTIONS_MAX = 24
SECONDS_MAX = 20.0
POSTGRES_DISK_BYTES = 160 << 20
QUEUED = 202


def proxied(mode: Mode, *, delay_ms: float = 0.0, every: int = 1) -> Fault:
    """Return a fault of the connections to PostgreSQL."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        proxy = lab.stack.sql_proxy
        assert proxy is not None
        before = proxy.resets
        proxy.switch(mode, delay_ms=delay_ms, every=every)
        yield
        is_reset = mode is not Mode.RESET_AFTER_APPLY or proxy.resets > before
        lab.expect(is_reset, "no answer was lost")
        proxy.mend()

    return fault


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    lab.stack.postgres.kill()
    yield
    lab.stack.postgres.start()


@contextmanager
def hung(lab: Lab) -> Iterator[None]:
    lab.stack.postgres.pause()
    yield
    lab.stack.postgres.go_on()


@contextmanager
def disk_full(lab: Lab) -> Iterator[None]:
    assert lab.stack.disk is not None
    lab.stack.disk.fill()
    yield
    lab.stack.disk.free()


@contextmanager
def disk_full_and_down(lab: Lab) -> Iterator[None]:
    """Let PostgreSQL want a new piece of its log where there is no room: it panics and ends.

    Who runs it makes room and starts it again.
    """
    disk, server = lab.stack.disk, lab.stack.postgres
    assert disk is not None
    disk.fill()
    deadline = time.perf_counter() + SECONDS_MAX
    while server.socket.exists():
        assert time.perf_counter() < deadline, "PostgreSQL writes where there is no room"
        with suppress(psycopg.Error), psycopg.connect(_address(lab), autocommit=True) as somebody:
            somebody.execute("SELECT pg_switch_wal()")
            somebody.execute("CREATE TABLE IF NOT EXISTS room_wanted ()")
        time.sleep(0.05)
    yield
    disk.free()
    server.close()
    server.start()


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Let another process, this one, hold the file's write lock."""
    sql = lab.stack.sql
    assert isinstance(sql, Sqlite)
    with closing(sqlite3.connect(sql.outside, isolation_level=None, timeout=SECONDS_MAX)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def few_connections(stack: Stack) -> None:
    """Start PostgreSQL with few connections, none of them kept for a superuser."""
    limits = {
        "max_connections": CONNECTIONS_MAX,
        "superuser_reserved_connections": 0,
        "reserved_connections": 0,
        "max_wal_senders": 0,
    }
    stack.postgres.close()
    stack.postgres.options = [f"--{name}={value}" for name, value in limits.items()]
    stack.postgres.start()


@contextmanager
def connections_exhausted(lab: Lab) -> Iterator[None]:
    """Take every connection, those that the service has by ending them."""
    with ExitStack() as taken:
        ours = [taken.enter_context(psycopg.connect(_address(lab), autocommit=True))]
        deadline = time.perf_counter() + SECONDS_MAX
        while len(ours) < CONNECTIONS_MAX:
            assert time.perf_counter() < deadline, "not all connections could be taken"
            ours[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'promobandit'"
            )
            with suppress(psycopg.OperationalError):
                ours.append(taken.enter_context(psycopg.connect(_address(lab), autocommit=True)))
        yield


@contextmanager
def restarted_without_sql(lab: Lab) -> Iterator[None]:
    """Restart one of two API processes while SQL is down: it starts from Redis and its copy."""
    lab.stack.postgres.kill()
    api = lab.stack.apis[1]
    api.close()
    api.start()
    lab.stack.wait_until_ready([1])
    host, port = lab.stack.addresses[1]
    wish = {"experiment": lab.experiment, "unit": "restarted", "occasion": "o"}
    answer = httpx.post(f"http://{host}:{port}/choose", json=wish, timeout=2)
    lab.expect(
        (answer.status_code, answer.json().get("source")) == (200, "policy"),
        f"the restarted process answered {answer.status_code}: {answer.text}",
    )
    yield
    lab.stack.postgres.start()


def rewards_were_queued(lab: Lab) -> None:
    """Check that the fault did bite: some rewards could not be brought to the ledger at once."""
    lab.expect(lab.answered("reward", QUEUED) > 0, "no reward had to be queued")


def worker_waited(lab: Lab) -> None:
    """Check that the fault did bite: the worker could not reach the ledger."""
    lab.expect("ledger_unavailable" in lab.log("worker-1"), "the worker met no failure")


def _address(lab: Lab) -> str:
    return f"postgresql://postgres@/postgres?host={lab.stack.postgres.directory}"


def _row(
    name: str, fault: Fault, check: Callable[[Lab], None] | None = rewards_were_queued
) -> Scenario:
    return Scenario(name=name, fault=fault, check=check)


SQLITE = Layout(sql="sqlite")
POSTGRES_ON_SMALL_DISK = Layout(on_small_disk="sql", disk_bytes=POSTGRES_DISK_BYTES)
ROWS = (
    replace(_row("SQL killed (kill -9), started again", killed), is_quick=True),
    replace(_row("SQL hung (SIGSTOP)", hung), is_quick=True),
    _row("SQL slow: 1 s more for each call", proxied(Mode.DELAY, delay_ms=1_000)),
    _row("SQL behind a black hole", proxied(Mode.BLACK_HOLE)),
    _row("SQL half open: calls arrive, answers do not", proxied(Mode.HALF_OPEN)),
    _row("SQL refuses connections", proxied(Mode.REFUSE)),
    _row(
        "SQL answers lost after they were applied, one in five",
        proxied(Mode.RESET_AFTER_APPLY, every=5),
        None,
    ),
    replace(
        _row("SQL on a full disk (PostgreSQL)", disk_full, worker_waited),
        layout=POSTGRES_ON_SMALL_DISK,
    ),
    replace(
        _row("SQL down because its disk is full (PostgreSQL, no room for WAL)", disk_full_and_down),
        layout=POSTGRES_ON_SMALL_DISK,
    ),
    replace(
        _row("SQL on a full disk (SQLite)", disk_full), layout=Layout("sqlite", on_small_disk="sql")
    ),
    replace(_row("SQLite locked by another process (BEGIN EXCLUSIVE)", locked), layout=SQLITE),
    replace(
        _row("SQL has no connection left", connections_exhausted),
        prepare=few_connections,
    ),
    replace(
        _row("SQL down while one of two API processes is restarted", restarted_without_sql),
        layout=Layout(apis=2),
        plan=Plan(choices_a_second=100.0),  # Starting a process takes one of two cores.
    ),
)
