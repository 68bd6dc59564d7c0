"""What a stack is made of: servers behind fault proxies, and processes told by their pid."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import psutil
import redis
from sqlalchemy import Engine, create_engine

from tests.servers import postgres_server, redis_server, start_promobandit

STOP_SECONDS_MAX = 35.0
_POSTGRES_SOCKET = ".s.PGSQL.5432"


def signal_all(pid: int, number: signal.Signals) -> None:
    """Signal a process and all its descendants."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(each.pid, number)


@dataclass(slots=True)
class RedisBehindProxy:
    """A Redis-protocol server, empty at each start, with the fault proxy in front of it."""

    directory: Path
    kind: Literal["redis", "valkey"] = "redis"
    options: Sequence[str] = ()
    within: Sequence[str] = ()
    pid: int = 0
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def proxied(self) -> Path:
        """The socket of the proxy, which the service knows."""
        return self.directory / "proxy.sock"

    @property
    def socket(self) -> Path:
        """The socket of the server itself."""
        return self.directory / f"{self.kind}.sock"

    @property
    def url(self) -> str:
        """The address that the service knows."""
        return f"unix://{self.proxied}"

    def client(self) -> redis.Redis:
        """Return a client that passes by the proxy; close it."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        """Start the server, which is empty."""
        self.directory.mkdir(exist_ok=True)
        server = redis_server(self.kind, self.directory, *self.options, within=self.within)
        self._running.enter_context(server)
        with self.client() as client:
            self.pid = int(client.info("server")["process_id"])

    def kill(self) -> None:
        """Kill the server: no goodbye, no save."""
        os.kill(self.pid, signal.SIGKILL)
        self._running.close()

    def pause(self) -> None:
        """Let the server hang: it accepts, and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server, whatever state it is in."""
        with suppress(ProcessLookupError):
            self.go_on()
        self._running.close()


class Sql(Protocol):
    """What every scenario may ask of a database."""

    @property
    def url(self) -> str:
        """The address that the service knows."""
        ...

    @property
    def direct_url(self) -> str:
        """The address that passes by the proxy."""
        ...

    def engine(self) -> Engine:
        """Return an engine that passes by the proxy; dispose it."""
        ...

    def start(self) -> None:
        """Start the server, with what it held."""
        ...

    def close(self) -> None:
        """End the server."""
        ...


@dataclass(slots=True)
class Sqlite:
    """A file; `outside` is where this process sees it."""

    path: Path
    outside: Path

    @property
    def url(self) -> str:
        """The address that the service knows."""
        return f"sqlite:///{self.path}"

    @property
    def direct_url(self) -> str:
        """The address of the file as this process sees it."""
        return f"sqlite:///{self.outside}"

    def engine(self) -> Engine:
        """Return an engine on the same file; dispose it."""
        return create_engine(self.direct_url)

    def start(self) -> None:
        """There is no server."""

    def close(self) -> None:
        """There is no server."""


@dataclass(slots=True)
class Postgres:
    """A PostgreSQL server; the service knows only the proxy in front of it."""

    directory: Path
    data: Path
    within: Sequence[str] = ()
    options: Sequence[str] = ()
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def proxied(self) -> Path:
        """The socket of the proxy, in a directory of its own as its name is fixed."""
        return self.directory / "proxy" / _POSTGRES_SOCKET

    @property
    def socket(self) -> Path:
        """The socket of the server itself."""
        return self.directory / _POSTGRES_SOCKET

    @property
    def url(self) -> str:
        """The address that the service knows."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.proxied.parent}"

    @property
    def pid(self) -> int:
        """The process id of the postmaster, as it stands in the lock of its socket."""
        return int(Path(f"{self.socket}.lock").read_text().split("\n", 1)[0])

    @property
    def direct_url(self) -> str:
        """The address that passes by the proxy."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.directory}"

    def engine(self) -> Engine:
        """Return an engine that passes by the proxy; dispose it."""
        return create_engine(self.direct_url)

    def start(self) -> None:
        """Start the server, with what it held."""
        self.proxied.parent.mkdir(parents=True, exist_ok=True)
        server = postgres_server(self.directory, *self.options, within=self.within, data=self.data)
        self._running.enter_context(server)

    def kill(self) -> None:
        """Kill the server with all its backends, as a crash of the machine would."""
        signal_all(self.pid, signal.SIGKILL)
        self._running.close()

    def pause(self) -> None:
        """Let the server and its backends hang."""
        signal_all(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        signal_all(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server, whatever state it is in."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.go_on()
        self._running.close()


@dataclass(slots=True)
class Process:
    """One process of the service, told by its pid what happens to it."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    within: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        assert self._process is None or self._process.returncode is not None
        self._process = start_promobandit(self.arguments, self.log, self.environment, self.within)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and see it gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Stop it without ending it."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        self.signal(signal.SIGCONT)

    def wait(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """Wait for its end; return the exit code."""
        assert self._process is not None
        return self._process.wait(seconds_max)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it in order, or kill it."""
        if not self.is_running():
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
