"""A whole service on real servers, with fault proxies between, for scenarios to break."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
from redis import Redis

from tests.faults.disk import Disk, small_disk
from tests.faults.parts import Postgres, Process, RedisBehindProxy, Sql, Sqlite
from tests.faults.proxy import Address, FaultProxy
from tests.servers import free_port

READY_SECONDS_MAX = 30.0
DISK_BYTES = 48 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a stack is made of; scenarios of equal layouts share one."""

    sql: Literal["sqlite", "postgres"] = "postgres"
    redis: Literal["redis", "valkey"] = "redis"
    apis: int = 1
    workers: int = 1
    on_small_disk: Literal["outbox", "sql", "redis", ""] = ""
    disk_bytes: int = DISK_BYTES
    redis_options: tuple[str, ...] = ()
    own: str = ""  # A name for a stack that no other scenario uses.
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Stack:
    """Everything that runs for a scenario; parts are public, for rows to break."""

    layout: Layout
    directory: Path = field(init=False)
    disk: Disk | None = None
    redis: RedisBehindProxy = field(init=False)
    redis_proxy: FaultProxy = field(init=False)
    sql: Sql = field(init=False)
    sql_proxy: FaultProxy | None = None  # SQLite has none.
    apis: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    redis_url: str = ""  # What the service is told, if not the proxy in front of `redis`.
    redis_client: Callable[[], Redis] = field(init=False)  # Of what the service uses now.
    prepare: Callable[[Stack], None] | None = None  # Runs before the service starts.
    more: dict[str, Any] = field(default_factory=dict)  # What `prepare` has to tell the row.
    _ends: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the API processes listen."""
        return [("127.0.0.1", port) for port in self.ports]

    @property
    def url(self) -> str:
        """The address of the first API process."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def postgres(self) -> Postgres:
        """The PostgreSQL server of a layout that has one."""
        assert isinstance(self.sql, Postgres)
        return self.sql

    @property
    def environment(self) -> dict[str, str]:
        """What each process of the service is told."""
        return {
            "REDIS_URL": self.redis_url or self.redis.url,
            "DATABASE_URL": self.sql.url,
            "PROMOBANDIT_DATA_DIR": str(self.directory / "data"),
            "PROMOBANDIT_OUTBOX_DIR": str(self._place("outbox", self.directory / "data/outbox")),
            "PROMOBANDIT_METRICS_DIR": str(self.directory / "metrics"),
            "PROMOBANDIT_LOG_FORMAT": "json",
            **dict(self.layout.environment),
        }

    def logs(self) -> list[Path]:
        """Return the logs of all processes."""
        return list(self.directory.glob("*.log"))

    def log(self, name: str, since: int = 0) -> str:
        """Return what a process, `api-1` or `worker-1`, has logged, all or since so many bytes."""
        return (self.directory / f"{name}.log").read_bytes()[since:].decode(errors="replace")

    def wait_until_ready(self, apis: list[int] | None = None) -> None:
        """Wait until API processes, all of them by default, say that they may get traffic."""
        deadline = time.perf_counter() + READY_SECONDS_MAX
        for index in range(len(self.ports)) if apis is None else apis:
            while not self._is_ready(index):
                if time.perf_counter() > deadline:
                    raise RuntimeError(f"api-{index + 1}: {self.log(f'api-{index + 1}')[-2000:]}")
                time.sleep(0.05)

    def use(self, part: AbstractContextManager[T]) -> T:
        """Start something that ends with the stack."""
        return self._ends.enter_context(part)

    def new_redis(self, name: str) -> RedisBehindProxy:
        """Start one more server, which nobody uses yet."""
        server = RedisBehindProxy(self.directory / name, self.layout.redis)
        self._ends.callback(server.close)
        server.start()
        return server

    def proxy(self, listen: Address, upstream: Address) -> FaultProxy:
        """Put one more proxy somewhere, until the stack ends."""
        return self.use(FaultProxy(listen, upstream))

    def process(self, name: str, *arguments: str) -> Process:
        """Make one more process of the service, not started yet; it ends with the stack."""
        within = self._within("outbox") + self._within("sql")
        made = Process(arguments, self.environment, self.directory / f"{name}.log", within)
        self._ends.callback(made.close)
        return made

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command of the service to its end; return exit code and output."""
        log = self.directory / f"{arguments[0]}.log"
        log.unlink(missing_ok=True)
        process = self.process(arguments[0], *arguments)
        process.start()
        return process.wait(60), log.read_text()

    def _start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pbf-"))
        self._ends.callback(shutil.rmtree, self.directory, ignore_errors=True)
        for name in ("data", "metrics"):
            (self.directory / name).mkdir()
        if self.layout.on_small_disk:
            disk = small_disk(self.directory / "disk", self.layout.disk_bytes)
            self.disk = self._ends.enter_context(disk)
        self._start_servers()
        if self.prepare is not None:
            self.prepare(self)
        self._start_service()

    def _start_servers(self) -> None:
        options = ["--dir", str(self._place("redis", self.directory / "redis"))]
        self.redis = RedisBehindProxy(
            self.directory / "redis",
            self.layout.redis,
            (*options, *self.layout.redis_options),
            self._within("redis"),
        )
        self.sql = self._sql()
        for server in (self.redis, self.sql):
            self._ends.callback(server.close)
            server.start()
        self.redis_client = self.redis.client
        self.redis_proxy = self.proxy(self.redis.proxied, self.redis.socket)
        if isinstance(self.sql, Postgres):
            self.sql_proxy = self.proxy(self.sql.proxied, self.sql.socket)

    def _sql(self) -> Sql:
        place = self._place("sql", self.directory)
        if self.layout.sql == "postgres":
            directory = self.directory / "pg"
            return Postgres(directory, place / "pg" / "data", self._within("sql"))
        outside = self.disk.outside if self.disk and place != self.directory else place
        return Sqlite(place / "ledger.db", outside / "ledger.db")

    def _start_service(self) -> None:
        for number in range(1, self.layout.apis + 1):
            self.ports.append(free_port())
            arguments = ("api", "--migrate", "--port", str(self.ports[-1]))
            self.apis.append(self.process(f"api-{number}", *arguments))
        for number in range(1, self.layout.workers + 1):
            self.workers.append(self.process(f"worker-{number}", "worker", "--migrate"))
        for each in self.apis + self.workers:
            each.start()
        self.wait_until_ready()

    def _is_ready(self, index: int) -> bool:
        if not self.apis[index].is_running():
            raise RuntimeError(f"api-{index + 1} ended: {self.log(f'api-{index + 1}')[-2000:]}")
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ports[index]}/readyz", timeout=2)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def _place(self, what: str, usual: Path) -> Path:
        if what == self.layout.on_small_disk and self.disk is not None:
            return self.disk.path
        return usual

    def _within(self, what: str) -> list[str]:
        return self.disk.within if self.disk and what == self.layout.on_small_disk else []
