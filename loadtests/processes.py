"""Start, pin and stop the processes of a measurement."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the measured server has for itself, and which all the others share."""

    server: int
    others: int


def take_cores() -> Cores:
    """Pick two cores and move this process, and so all its children, to the second."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise RuntimeError("the bench needs two cores: one for the server, one for everything else")
    cores = Cores(available[0], available[1])
    os.sched_setaffinity(0, {cores.others})
    return cores


@contextmanager
def on_all(cores: Cores) -> Iterator[None]:
    """Let the children started in this block have both cores, as outside a measurement."""
    os.sched_setaffinity(0, {cores.server, cores.others})
    yield
    os.sched_setaffinity(0, {cores.others})


def pin(pid: int, *cores: int) -> None:
    """Move a process with all its threads to some cores; new threads follow."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # It ended meanwhile.
            os.sched_setaffinity(int(thread.name), set(cores))


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    is_ready: Callable[[], bool],
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when it is ready until the block ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait_for(is_ready, process, log)
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.perf_counter() + START_SECONDS_MAX
    while process.poll() is None and time.perf_counter() < deadline:
        if is_ready():
            return
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"{process.args!r} did not start:\n{tail}")


def free_port() -> int:
    """Ask the kernel for a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts(port: int) -> bool:
    """Say whether somebody listens on a loopback port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
