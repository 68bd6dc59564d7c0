"""A real Prometheus with the rules of deploy/prometheus, unchanged, that scrapes one service."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.architecture.sources import ROOT
from tests.servers import free_port

DEPLOYED = ROOT / "deploy" / "prometheus"
START_SECONDS_MAX, STOP_SECONDS_MAX = 30.0, 10.0
JOB = "promobandit"


@dataclass(frozen=True, slots=True, order=True)
class Alert:
    """An alert that fires, and what it says about where."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def has(self, labels: dict[str, str]) -> bool:
        """Whether it has all these labels."""
        return labels.items() <= dict(self.labels).items()


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where the server listens."""

    url: str

    def firing(self) -> set[Alert]:
        """Return what fires now."""
        told = self._get("/api/v1/alerts")["alerts"]
        return {
            Alert(alert["labels"]["alertname"], tuple(sorted(alert["labels"].items())))
            for alert in told
            if alert["state"] == "firing"
        }

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Return the series of an instant query, and their values."""
        found = self._get("/api/v1/query", query=query)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}", params=query, timeout=20)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data


@contextmanager
def prometheus(directory: Path, ports: Sequence[int]) -> Iterator[Prometheus]:
    """Run a server that scrapes what listens on these ports of the loopback."""
    directory.mkdir()
    config = directory / "prometheus.yml"
    config.write_text(_configuration(ports))
    found = Prometheus(f"http://127.0.0.1:{free_port()}")
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    command += [f"--web.listen-address={found.url.removeprefix('http://')}", "--log.level=warn"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_ready(found.url, process, directory / "log")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def version() -> str:
    """Return the version of the server."""
    command = ["prometheus", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.split("version ", 1)[1].split()[0].split("+")[0]


def is_installed() -> bool:
    """Whether the machine has the server."""
    return shutil.which("prometheus") is not None


def _configuration(ports: Sequence[int]) -> str:
    """Return what is deployed, but for the addresses, and the key that nobody asks for here."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["rule_files"] = [str(DEPLOYED / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == JOB
    del job["authorization"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    return yaml.safe_dump(config)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.perf_counter() + START_SECONDS_MAX
    while time.perf_counter() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/-/ready", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"Prometheus does not start: {log.read_text()[-2000:]}")
