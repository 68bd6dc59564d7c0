"""An API process or a worker whose clock is wrong: `python -m tests.faults.skewed FILE COMMAND`.

All but the clock is what `promobandit api` and `promobandit worker` run. FILE holds how far off
the clock is, in milliseconds, and whoever writes to it makes the clock jump.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import signal
import struct
from pathlib import Path

from service import logs, supervisor
from service.api import app, server
from service.bootstrap.api import build_api
from service.bootstrap.system import SystemClock
from service.bootstrap.worker import build_worker
from service.domain.clock import Clock
from service.metrics import shared
from service.settings import Settings

_SKEW = struct.Struct("<q")


def set_skew(path: Path, milliseconds: int) -> None:
    """Let the clock that reads a file be so far ahead; negative is behind."""
    if not path.exists():
        path.write_bytes(bytes(_SKEW.size))
    with path.open("r+b") as file:
        file.write(_SKEW.pack(milliseconds))


class SkewedClock:
    """The machine's clock, ahead by what the file says at this moment."""

    def __init__(self, path: Path) -> None:
        self._machine = SystemClock()
        with path.open("rb") as file:
            self._skew = mmap.mmap(file.fileno(), _SKEW.size, access=mmap.ACCESS_READ)

    def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch, as somebody set them."""
        skew_ms: int = _SKEW.unpack(self._skew)[0]
        return self._machine.now_ms() + skew_ms

    def monotonic_ms(self) -> int:
        """Return milliseconds since the machine was started, which nobody can set."""
        return self._machine.monotonic_ms()


def main() -> None:
    """Run one process until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.skewed")
    parser.add_argument("skew", type=Path)
    parser.add_argument("command", choices=("api", "worker"))
    parser.add_argument("--port", type=int)
    parser.add_argument("--parent", type=int)
    options = parser.parse_args()
    supervisor.die_with(options.parent)
    settings = Settings()
    logs.configure(options.command, pretty=settings.is_pretty, level=settings.log_level)
    clock = SkewedClock(options.skew)
    if options.command == "api":
        _serve(settings, clock, options.port)
    else:
        asyncio.run(_work(settings, clock))


def _serve(settings: Settings, clock: Clock, port: int) -> None:
    services = build_api(
        settings, migrate=True, clock=clock, shared=shared.join(settings.metrics, "api")
    )

    async def is_ready() -> bool:
        return not await services.health.reasons()

    life = server.Life(is_ready=is_ready, departure=services.departure)
    listener = supervisor.listen("127.0.0.1", port)
    server.run(app.create_app(services), listener, services.metrics, life)


async def _work(settings: Settings, clock: Clock) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    joined = shared.join(settings.metrics, "worker")
    await build_worker(settings, migrate=True, clock=clock, shared=joined).run(stop)


if __name__ == "__main__":
    main()
