"""Locust in a process of its own, and what its users found."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.load.locust_words import BEGUN_SUFFIX
from loadtests.load.shapes import Shape
from loadtests.processes import pin

ROOT = Path(__file__).parents[2]
LOCUSTFILE = Path(__file__).parent / "locustfile.py"
NICENESS = 5  # Behind the sender, which measures.
BEGIN_SECONDS_MAX = 60.0
END_SECONDS_MAX = 60.0
STOP_SECONDS = 10  # For requests under way when the run ends.


@dataclass(frozen=True, slots=True)
class UserRow:
    """What the users saw of one route, each waiting for its answer before it asks again."""

    name: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class UserFindings:
    """What all users found together."""

    rows: Sequence[UserRow]
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class Users:
    """Locust at work."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    def findings(self, seconds: float) -> UserFindings:
        """Wait until the run has ended, and read what was found."""
        code = self.process.wait(seconds + END_SECONDS_MAX)
        if code or not self.out.exists():
            tail = self.log.read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"locust ended with code {code}:\n{tail}")
        found = json.loads(self.out.read_text())
        rows = sorted((UserRow(**row) for row in found["rows"]), key=lambda row: row.name)
        return UserFindings(rows, [f"{e['text']} ({e['count']} times)" for e in found["errors"]])


def _wait_for(begun: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the users come: a program that is being loaded would take the sender's time."""
    deadline = time.perf_counter() + BEGIN_SECONDS_MAX
    while not begun.exists():
        if process.poll() is not None or time.perf_counter() > deadline:
            raise RuntimeError(f"locust did not begin:\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.05)


@contextmanager
def using(url: str, shape: Shape, seconds: float, tag: str, core: int | None) -> Iterator[Users]:
    """Let the shape's users use the service; they end with the block at the latest."""
    with tempfile.TemporaryDirectory(prefix="pb-users-") as name:
        out, log = Path(name) / "found.json", Path(name) / "locust.log"
        command = ["nice", "-n", str(NICENESS), sys.executable, "-m", "locust"]
        command += ["--locustfile", str(LOCUSTFILE), "--headless", "--only-summary"]
        command += ["--loglevel", "WARNING", "--exit-code-on-error", "0"]
        command += ["--stop-timeout", str(STOP_SECONDS), "--host", url, "--shape", shape.name]
        command += ["--seconds", str(seconds), "--tag", tag, "--out", str(out)]
        with log.open("wb") as told:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=ROOT
            )
        if core is not None:
            pin(process.pid, core)
        try:
            _wait_for(out.with_suffix(BEGUN_SUFFIX), process, log)
            yield Users(process, out, log)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
