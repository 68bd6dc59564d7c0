"""The real service as a child process of the demo, with data of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.simulation import DemoError

DEFAULT_PORT = 8000
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
LOG_CHARACTERS_SHOWN = 2_000
# The demo must never write to the stores of an installation that this shell knows.
WITHOUT_STORES = ("env", "-u", "REDIS_URL", "-u", "DATABASE_URL")


@dataclass(frozen=True, slots=True)
class DemoService:
    """The running service: where it listens, keeps its data, and writes its log."""

    url: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def demo_service(port: int | None, data_dir: Path | None) -> Iterator[DemoService]:
    """Run `promobandit serve` until the block ends; without a data_dir its data goes with it."""
    with tempfile.TemporaryDirectory(prefix="pb-demo-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        chosen = port or _port()
        service = _started(chosen, data_dir or home / "data", home / "service.log")
        try:
            _wait_until_ready(service)
            yield service
        finally:
            _stop(service.process)


def _started(port: int, data_dir: Path, log: Path) -> DemoService:
    command = [*WITHOUT_STORES, sys.executable, "-m", "service", "serve", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # A group of its own: Ctrl-C is for the demo, which then stops the service in order.
            process_group=0,
        )
    return DemoService(f"http://127.0.0.1:{port}", data_dir, log, process)


def _wait_until_ready(service: DemoService) -> None:
    deadline = time.perf_counter() + START_SECONDS_MAX
    while service.process.poll() is None and time.perf_counter() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/readyz", timeout=2.0).is_success:
                return
        time.sleep(0.05)
    end = service.log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]
    raise DemoError(f"the service did not start; the end of its log:\n{end}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port() -> int:
    """Return the default port, or a free one when somebody listens there."""
    for candidate in (DEFAULT_PORT, 0):
        with socket.socket() as listener, suppress(OSError):
            # As the service will do it: else a port that was just given up looks taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", candidate))
            return int(listener.getsockname()[1])
    raise DemoError("no port is free on the loopback interface")
