"""Run wrk, the load generator, and read what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LUA = Path(__file__).parent / "lua"
CONNECTIONS = 32
INSTALL_COMMAND = "sudo apt-get install --yes wrk"
TIMEOUT_SLACK_SECONDS = 30.0


class LoadError(RuntimeError):
    """The load did not go as planned, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a load against one server."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return self.requests / self.seconds

    @property
    def cost_us(self) -> float:
        """Microseconds per request at saturation."""
        return 1e6 / self.rate


def is_installed() -> bool:
    """Say whether wrk is on the PATH."""
    return shutil.which("wrk") is not None


def choose_load(
    url: str, tag: str, seconds: int, prefix: str, *, experiments: int = 1, key: str = ""
) -> Trial:
    """Send choices, each of a new unit with an occasion, as fast as they are answered."""
    return _wrk(url, "choose.lua", seconds, [prefix, str(experiments), tag, key])


def reward_load(url: str, tokens: Path, seconds: int) -> Trial:
    """Send one reward for each decision id of a file, as fast as they are answered."""
    available = tokens.read_bytes().count(b"\n")
    trial = _wrk(url, "reward.lua", seconds, [str(tokens)])
    if trial.requests + CONNECTIONS > available:
        raise LoadError(f"{available} decision ids were too few for {trial.requests} rewards")
    return trial


def _wrk(url: str, script: str, seconds: int, arguments: list[str]) -> Trial:
    host = url.removeprefix("http://")
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS)]
    command += ["--duration", f"{seconds}s", "--latency", "--timeout", "5s"]
    command += ["--script", str(LUA / script), url, "--", host, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + TIMEOUT_SLACK_SECONDS,
    )
    line = next((text for text in done.stdout.splitlines() if text.startswith("{")), None)
    if done.returncode != 0 or line is None:
        raise LoadError(f"wrk failed: {done.stdout}{done.stderr}")
    result = json.loads(line)
    if result["refused"] or result["broken"]:
        raise LoadError(f"{url} answered with errors: {line}")
    return Trial(result["requests"], result["seconds"], result["p50_ms"], result["p99_ms"])
