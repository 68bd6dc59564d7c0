"""One running service whose parts can be told apart: API process, worker, Redis, PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.client import Client
from loadtests.processes import free_port, running
from loadtests.servers import Site

PARTS = ("API", "worker", "Redis", "SQL server")


@dataclass(frozen=True, slots=True)
class Measured:
    """A service under measurement."""

    url: str
    data_dir: Path
    client: Client
    database_url: str
    _supervisor: psutil.Process

    def processes(self) -> dict[str, psutil.Process]:
        """Return the process of each part; PostgreSQL's is the one whose children serve."""
        found = {_part(child): child for child in self._supervisor.children()}
        if self.database_url:
            folder = self.database_url.partition("?host=")[2]
            pid = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
            found["SQL server"] = _postmaster(pid, folder)
        return found

    def seconds(self) -> dict[str, float]:
        """Return the processor time that each part has used so far."""
        return {part: _seconds(process) for part, process in self.processes().items()}

    @property
    def redis_socket(self) -> Path:
        """Where the embedded Redis listens."""
        (found,) = [path for path in self.data_dir.rglob("*.sock*") if path.is_socket()]
        return found


@contextmanager
def measured(site: Site, database_url: str = "") -> Iterator[Measured]:
    """Run `promobandit serve` with one API process until the block ends."""
    data_dir, port = site.directory / f"sizing-{bool(database_url):d}", free_port()
    data_dir.mkdir(mode=0o700)
    command = ["env", *([f"DATABASE_URL={database_url}"] if database_url else [])]
    command += [sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--data-dir", str(data_dir)]
    client = Client(port)
    with running(command, data_dir.with_suffix(".log"), client.is_ready) as process:
        supervisor = psutil.Process(process.pid)
        url = f"http://127.0.0.1:{port}"
        yield Measured(url, data_dir, client, database_url, supervisor)


def _part(process: psutil.Process) -> str:
    words = process.cmdline()
    if "redis" in words[0] or "valkey" in words[0]:
        return "Redis"
    return "worker" if "worker" in words else "API"


def _postmaster(pid: int, folder: str) -> psutil.Process:
    # The file tells the process id as its own user namespace sees it, which is the same one.
    process = psutil.Process(pid)
    if not any(folder in word for word in process.cmdline()):
        raise RuntimeError(f"process {pid} is not the PostgreSQL of {folder}")
    return process


def _seconds(process: psutil.Process) -> float:
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:  # It ended; from now on its parent's times have it.
            continue
        total += times.user + times.system
    return float(total)
