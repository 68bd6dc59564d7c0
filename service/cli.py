"""The command line: one service, its parts, and what operators do by hand."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from service import logs, supervisor
from service.domain.clock import SECOND_MS
from service.errors import ServiceError
from service.metrics import forget_process
from service.settings import METRICS_DIR_VARIABLE, Settings, child_environment

PORT_MAX = 65_535
WORKER_NICENESS = 10
API_STOP_SECONDS = 12.0  # uvicorn waits 8 s for requests under way, then the stores are closed.
WORKER_STOP_SECONDS = 30.0  # 20 s of draining, and the last turns of the loops before it.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.parent:
        supervisor.die_with(options.parent)
    given = {} if options.data_dir is None else {"data_dir": options.data_dir}
    try:
        settings = Settings(**given)
        logs.configure(options.command, pretty=settings.is_pretty, level=settings.log_level)
        code: int = options.run(options, settings)
    except (ServiceError, LookupError, OSError, RuntimeError, ValueError) as error:
        print(f"promobandit {options.command}: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="promobandit", description=__doc__)
    parser.add_argument("--version", action="version", version=version("promobandit"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path, help="where the data is (PROMOBANDIT_DATA_DIR)")
    common.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    common.add_argument("--migrate", action="store_true", help=argparse.SUPPRESS)
    listening = argparse.ArgumentParser(add_help=False)
    listening.add_argument("--host", default="127.0.0.1", help="address to listen on")
    listening.add_argument("--port", type=_port, default=8000, help="port to listen on")

    def command(
        name: str, run: object, text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common, *parents])
        sub.set_defaults(run=run)
        return sub

    serve = command("serve", _serve, "run the whole service on this machine", listening)
    serve.add_argument("--workers", type=int, default=1, help="number of API processes")
    api = command("api", _api, "run one API process (needs REDIS_URL)", listening)
    api.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    worker = command("worker", _worker, "run the worker (needs REDIS_URL)")
    worker.add_argument("--nice", action="store_true", help="leave the processor to others first")
    command("migrate", _migrate, "bring the database's schema up to date")
    command("audit", _audit, "recount the evidence; exit code 1 if anything differs")
    command("rotate-signing-key", _rotate, "add a signing key, in use 5 minutes from now")
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= PORT_MAX:  # The system would take it modulo 65,536.
        raise argparse.ArgumentTypeError(f"a port is from 0 to {PORT_MAX}")
    return number


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import embedded  # noqa: PLC0415  Only this command needs it.

    if options.workers < 1:
        raise ValueError("--workers must be at least 1")
    _warn_if_exposed(options.host)
    metrics_dir = embedded.prepare(settings.data_dir)
    server = embedded.embedded_server(settings)
    listener = supervisor.listen(options.host, options.port)
    changes = {
        "PROMOBANDIT_DATA_DIR": str(settings.data_dir.absolute()),
        METRICS_DIR_VARIABLE: str(metrics_dir.absolute()),
    }
    if server is not None:
        changes["REDIS_URL"] = server.url
    address = _Address(options.host, listener.getsockname()[1])
    supervised = supervisor.Supervisor(
        groups=_children(listener.fileno(), options.workers),
        environment=child_environment(changes),
        server=server,
        is_ready=address.is_ready,
        announce=lambda: address.announce(settings.data_dir),
        on_exit=lambda pid: forget_process(metrics_dir, pid),
    )
    return asyncio.run(supervised.run())


def _children(descriptor: int, workers: int) -> list[list[supervisor.Child]]:
    """Return the groups in the order of their end: no choice may come after the drain."""
    api = [
        supervisor.Child(
            name=f"api-{number}",
            arguments=("api", "--fd", str(descriptor), "--migrate"),
            stop_seconds=API_STOP_SECONDS,
            descriptors=(descriptor,),
        )
        for number in range(1, workers + 1)
    ]
    worker = supervisor.Child(
        name="worker",
        arguments=("worker", "--nice", "--migrate"),
        stop_seconds=WORKER_STOP_SECONDS,
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


def _api(options: argparse.Namespace, settings: Settings) -> int:
    from service.api import app, server  # noqa: PLC0415  Only this command needs them.
    from service.bootstrap.api import build_api  # noqa: PLC0415

    services = build_api(settings, migrate=options.migrate)
    if options.fd is None:
        _warn_if_exposed(options.host)
        listener = supervisor.listen(options.host, options.port)
    else:
        listener = socket.socket(fileno=options.fd)
    server.run(app.create_app(services), listener, services.metrics.refused)
    return 0


def _worker(options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import worker  # noqa: PLC0415

    if options.nice:
        os.nice(WORKER_NICENESS)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await worker.build_worker(settings, migrate=options.migrate).run(stop)

    asyncio.run(run())
    return 0


def _migrate(_options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import worker  # noqa: PLC0415

    asyncio.run(worker.migrate_schema(settings))
    return 0


def _audit(_options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import worker  # noqa: PLC0415

    found = asyncio.run(worker.audit(settings))
    for line in found:
        print(line)
    print(f"{len(found)} differences between the evidence and a recount of the ledger's rows")
    return 1 if found else 0


def _rotate(_options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import worker  # noqa: PLC0415

    key_id, active_from_ms = asyncio.run(worker.rotate_signing_key(settings))
    at = datetime.fromtimestamp(active_from_ms / SECOND_MS, UTC)
    print(f"signing key {key_id} is in use from {at:%Y-%m-%dT%H:%M:%SZ} on")
    return 0


def _warn_if_exposed(host: str) -> None:
    is_loopback = host == "localhost"
    with suppress(ValueError):
        is_loopback = ipaddress.ip_address(host).is_loopback
    if not is_loopback:
        print(
            f"warning: listening on {host}, and the service has no authentication yet: "
            "whoever reaches it may change experiments",
            file=sys.stderr,
        )
