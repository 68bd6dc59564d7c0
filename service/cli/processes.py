"""The commands that run: the whole service, one API process, or the worker."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from service import supervisor
from service.cli import exposure
from service.cli.heaps import keep_one_heap
from service.metrics import shared
from service.settings import METRICS_DIR_VARIABLE, PROCESSES_VARIABLE, Settings, child_environment

WORKER_NICENESS = 10
API_STOP_SECONDS = 12.0  # uvicorn waits 8 s for requests under way, then the stores are closed.
WORKER_STOP_SECONDS = 10.0  # The last turns of the loops; then the outbox is drained.


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Run the whole service until told to stop."""
    supervisor.outlive_hangups()
    from service.bootstrap import embedded  # noqa: PLC0415  Only this command needs it.

    if options.workers < 1:
        raise ValueError("--workers must be at least 1")
    host = exposure.address_of(options.host)
    embedded.prepare(settings.data_dir)
    is_exposed = exposure.checked(host, settings, migrate=True)
    server = embedded.embedded_server(settings)
    listener = supervisor.listen(host, options.port)
    changes = {
        "PROMOBANDIT_DATA_DIR": str(settings.data_dir.absolute()),
        METRICS_DIR_VARIABLE: str(settings.metrics.absolute()),
        PROCESSES_VARIABLE: str(options.workers),
    }
    if server is not None:
        changes["REDIS_URL"] = server.url
    address = _Address(options.host, listener.getsockname()[1])
    supervised = supervisor.Supervisor(
        groups=groups_of(
            listener.fileno(),
            options.workers,
            is_exposed=is_exposed,
            drain_seconds=settings.drain_seconds,
            last_drain_seconds=settings.last_drain_seconds,
        ),
        environment=child_environment(changes),
        server=server,
        is_ready=address.is_ready,
        announce=lambda: address.announce(settings.data_dir),
        on_exit=lambda _: shared.sweep(settings.metrics),
    )
    return asyncio.run(supervised.run())


def groups_of(
    descriptor: int,
    workers: int,
    *,
    is_exposed: bool,
    drain_seconds: float = 0.0,
    last_drain_seconds: float = 0.0,
) -> list[list[supervisor.Child]]:
    """Return the groups in the order of their end: no choice may come after the drain."""
    exposed = ("--exposed",) if is_exposed else ()
    api = [
        supervisor.Child(
            name=f"api-{number}",
            arguments=("api", "--fd", str(descriptor), "--migrate", *exposed),
            stop_seconds=API_STOP_SECONDS + drain_seconds,
            descriptors=(descriptor,),
            hands_over=True,
        )
        for number in range(1, workers + 1)
    ]
    worker = supervisor.Child(
        name="worker",
        arguments=("worker", "--nice", "--migrate"),
        stop_seconds=WORKER_STOP_SECONDS + last_drain_seconds,
    )
    return [api, [worker]]


class _Address(NamedTuple):
    host: str
    port: int

    @property
    def url(self) -> str:
        """The address to show and to open."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}"

    async def is_ready(self) -> bool:
        """Whether choices are answered."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return await supervisor.answers_ok(local, self.port, "/readyz")

    def announce(self, data_dir: Path) -> None:
        """Tell a person where everything is."""
        print(
            f"promobandit is ready: {self.url}\n"
            f"  API description  {self.url}/openapi.json\n"
            f"  metrics          {self.url}/metrics\n"
            f"  data             {data_dir.absolute()}",
            flush=True,
        )


def api(options: argparse.Namespace, settings: Settings) -> int:
    """Run one API process until told to stop."""
    keep_one_heap()
    from service.api import app, server  # noqa: PLC0415  Only this command needs them.
    from service.bootstrap.api import build_api  # noqa: PLC0415

    host = None if options.fd is not None else exposure.address_of(options.host)
    is_exposed: bool = options.exposed
    if host is not None:
        is_exposed = exposure.checked(host, settings, migrate=options.migrate)
    services = build_api(
        settings,
        migrate=options.migrate,
        is_exposed=is_exposed,
        shared=_join(settings, "api"),
    )
    if host is None:
        listener = socket.socket(fileno=options.fd)
    else:
        listener = supervisor.listen(host, options.port)

    async def is_ready() -> bool:
        return not await services.health.reasons()

    life = server.Life(
        is_ready=is_ready,
        ready_descriptor=options.ready_fd,
        departure=services.departure,
        drain_seconds=settings.drain_seconds,
    )
    server.run(app.create_app(services), listener, services.metrics, life)
    return 0


def _join(settings: Settings, role: str) -> shared.SharedMetrics | None:
    """Share this process's metrics; one that cannot start, without a Redis, joins nobody."""
    return shared.join(settings.metrics, role) if settings.redis else None


def worker(options: argparse.Namespace, settings: Settings) -> int:
    """Run the worker until told to stop."""
    keep_one_heap()
    from service.bootstrap import worker  # noqa: PLC0415

    if options.nice:
        os.nice(WORKER_NICENESS)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        joined = _join(settings, "worker")
        await worker.build_worker(settings, migrate=options.migrate, shared=joined).run(stop)

    asyncio.run(run())
    return 0
