"""The service under load: one of our own with its stores, or one that is running somewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from loadtests.client import Client, batch_body
from loadtests.connections import Address
from loadtests.load.experiments import definition, experiments
from loadtests.load.watch import role_of
from loadtests.processes import Cores, free_port, pin, running
from loadtests.servers import Site

BATCH = 10_000
AUDIT_SECONDS_MAX = 300.0
# The load must never reach the stores of an installation that this shell knows.
WITHOUT_STORES = ("env", "-u", "REDIS_URL", "-u", "DATABASE_URL")


@dataclass(frozen=True, slots=True)
class Stores:
    """Which stores a service of our own gets: an address, a kind, or what it brings along."""

    redis: str = ""  # A URL, "redis" for a server of our own, or nothing: the embedded one.
    database: str = ""  # A URL, "postgres" for a server of our own, or nothing: SQLite.


@dataclass(frozen=True, slots=True)
class Service:
    """A service that can be asked; one of our own has a process, and can be audited."""

    url: str
    client: Client
    environment: Sequence[str] = ()
    data_dir: Path | None = None
    pid: int | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address_of(self.url)

    def audit(self) -> int | None:
        """Recount the evidence by hand; return the differences, None if that cannot be done."""
        if self.data_dir is None:
            return None
        command = [*WITHOUT_STORES, *self.environment, sys.executable, "-m", "service", "audit"]
        done = subprocess.run(
            [*command, "--data-dir", str(self.data_dir)],
            check=False,
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS_MAX,
        )
        words = done.stdout.splitlines()[-1:] or [""]
        count = words[0].partition(" ")[0]
        if not count.isdecimal():
            raise RuntimeError(f"the audit failed: {done.stderr[-500:]}")
        return int(count)


def address_of(url: str) -> Address:
    """Split a URL; only plain HTTP is spoken here."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise ValueError("the URL must be http://HOST:PORT, without a path")
    return parts.hostname, parts.port or 80


@contextmanager
def running_target(url: str, key: str) -> Iterator[Service]:
    """Give a service that is running somewhere."""
    host, port = address_of(url)
    client = Client(port, host)
    client.key = key
    yield Service(f"http://{host}:{port}", client)


@contextmanager
def own_target(workers: int, stores: Stores) -> Iterator[Service]:
    """Start a service with data of its own until the block ends."""
    # A short path: Unix sockets lie in it, and they may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
        cores = sorted(os.sched_getaffinity(0))
        site = Site(Path(name), Cores(cores[0], cores[-1]))
        with site.stack:
            environment = _environment(site, stores)
            data_dir, port = Path(name) / "data", free_port()
            command = [*WITHOUT_STORES, *environment, sys.executable, "-m", "service", "serve"]
            command += ["--port", str(port), "--workers", str(workers)]
            command += ["--data-dir", str(data_dir)]
            client = Client(port)
            log = Path(name) / "service.log"
            with running(command, log, client.is_ready) as process:
                _keep_off(cores[-1], process.pid)
                yield Service(
                    f"http://127.0.0.1:{port}", client, environment, data_dir, process.pid
                )


def sender_core() -> int | None:
    """Return the core that is the sender's; None where there is only one for everybody."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1] if len(cores) > 1 else None


def prepare(service: Service, decisions: int) -> tuple[str, list[str]]:
    """Make the experiments of a run; return their tag, and decisions to be rewarded."""
    tag = f"load-{uuid.uuid4().hex[:8]}"
    body = json.dumps(definition()).encode()
    ids = experiments(tag)
    for experiment in ids:
        service.client.request("PUT", f"/experiments/{experiment}", body)
    made: list[str] = []
    while len(made) < decisions:
        units = (f"prepared-{len(made) + i}" for i in range(min(BATCH, decisions - len(made))))
        answer = json.loads(service.client.choose_batch(batch_body(ids[-1], "prepared", units)))
        made += [decision["decision_id"] for decision in answer["decisions"]]
    return tag, made


def leave(service: Service, tag: str) -> None:
    """Stop the experiments of a run, so that a service that goes on need not learn from them."""
    for experiment in experiments(tag):
        service.client.request("POST", f"/experiments/{experiment}/stop")


def _environment(site: Site, stores: Stores) -> list[str]:
    redis = site.redis() if stores.redis == "redis" else stores.redis
    database = site.postgres() if stores.database == "postgres" else stores.database
    named = {"REDIS_URL": redis, "DATABASE_URL": database}
    return [f"{name}={url}" for name, url in named.items() if url]


def _keep_off(core: int, supervisor: int) -> None:
    """Leave one core to the senders, where there are two: the API processes keep off it."""
    others = os.sched_getaffinity(0) - {core}
    for process in psutil.Process(supervisor).children(recursive=True):
        if others and role_of(process) == "api":
            pin(process.pid, *others)
