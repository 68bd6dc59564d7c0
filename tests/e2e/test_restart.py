"""Processes are restarted and ended under load, and no caller who retries once notices."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.marketing import Marketing, children, wait_until
from tests.servers import RunningService, free_port, promobandit_service, start_promobandit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENTS = 6
PAUSE_SECONDS = 0.005  # Starting processes need some of the processor too.


class NoByteError(Exception):
    """The connection closed before any byte of an answer."""


@dataclass
class Sender:
    """One caller on a keep-alive connection; it retries once where no byte was answered."""

    port: int
    number: int
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    retries: int = 0
    failures: list[str] = field(default_factory=list)
    _socket: socket.socket | None = None

    def run(self) -> None:
        """Choose for one unit after the other until told to stop."""
        serial = 0
        while not self.stop.is_set():
            serial += 1
            body = {"experiment": "restarts", "unit": f"{self.number}-{serial}", "occasion": "o"}
            try:
                self.acknowledged.append(self._choose(json.dumps(body).encode()))
            except (OSError, NoByteError, ValueError) as error:
                self.failures.append(repr(error))
                self._close()
            self.stop.wait(PAUSE_SECONDS)
        self._close()

    def _choose(self, body: bytes) -> str:
        try:
            return self._ask(body)
        except NoByteError:
            self._close()
            self.retries += 1
            return self._ask(body)

    def _ask(self, body: bytes) -> str:
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            head = b"POST /choose HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            self._socket.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = self._socket.recv(65_536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise NoByteError from error
        if not answer:
            raise NoByteError
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            more = self._socket.recv(65_536)
            if not more:
                raise ValueError(f"cut short: {answer!r}")
            answer += more
        answered, _, found = answer.partition(b"\r\n\r\n")
        if not answered.startswith(b"HTTP/1.1 200 "):
            raise ValueError(answered.decode())
        if b"connection: close" in answered.lower():
            self._close()
        decision_id: str = json.loads(found)["decision_id"]
        return decision_id

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextmanager
def load(service: RunningService) -> Iterator[list[Sender]]:
    stop = threading.Event()
    port = int(service.url.rpartition(":")[2])
    senders = [Sender(port, number, stop) for number in range(CLIENTS)]
    threads = [threading.Thread(target=sender.run) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(sender.acknowledged) > 5 for sender in senders), 20)
        yield senders
        time.sleep(0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with promobandit_service(tmp_path / "data", "--workers", "2") as running:
        yield running


def log_of(service: RunningService) -> str:
    return service.data_dir.with_suffix(".log").read_text()


def pids(service: RunningService, command: str) -> set[int]:
    return {child.pid for child in children(service.process.pid, command)}


def counted(service: RunningService) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("promobandit_decisions_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def check(service: RunningService, marketing: Marketing, senders: list[Sender]) -> None:
    """Compare what was acknowledged with what the ledger has."""
    acknowledged = [each for sender in senders for each in sender.acknowledged]
    assert [failure for sender in senders for failure in sender.failures] == []
    assert len(set(acknowledged)) == len(acknowledged)
    wait_until(lambda: marketing.pulls("restarts") >= len(acknowledged), 20)
    assert marketing.pulls("restarts") == len(acknowledged)
    # A process that restarts does not take what it counted with it.
    wait_until(lambda: counted(service) >= len(acknowledged), 5)


def test_a_rolling_restart_under_load_fails_no_request(service: RunningService) -> None:
    marketing = Marketing(service.url)
    marketing.put("restarts")
    before = pids(service, "api") | pids(service, "worker")
    with load(service) as senders:
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "restart_finished" in log_of(service), 60)

    after = pids(service, "api") | pids(service, "worker")
    assert len(after) == 3
    assert not before & after
    check(service, marketing, senders)
    names = {path.name for path in (service.data_dir / "metrics").glob("*.db")}
    owners = {name.rpartition("_")[2] for name in names}
    assert sorted(name.partition("-")[0] for name in owners) == ["api", "api", "ended.db", "worker"]
    marketing.client.close()


def test_an_api_process_that_is_told_to_end_under_load_fails_no_request(
    service: RunningService,
) -> None:
    marketing = Marketing(service.url)
    marketing.put("restarts")
    (first, second) = children(service.process.pid, "api")
    with load(service) as senders:
        first.terminate()
        first.wait(20)
        wait_until(lambda: len(pids(service, "api") - {first.pid}) == 2, 20)

    assert second.pid in pids(service, "api")
    check(service, marketing, senders)
    marketing.client.close()


def test_a_process_of_its_own_says_that_it_will_end_and_serves_until_then(
    tmp_path: Path, redis_url: str
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["api", "--port", str(port), "--data-dir", str(tmp_path / "data"), "--migrate"]
    env = {"REDIS_URL": redis_url, "PROMOBANDIT_DRAIN_SECONDS": "1.5"}
    process = start_promobandit(arguments, tmp_path / "api.log", env)
    try:
        wait_until(lambda: status_of(f"{url}/readyz") == 200, 20)
        told_at = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: status_of(f"{url}/readyz") == 503, 5)
        while_draining = status_of(f"{url}/livez")
        process.wait(20)
        seconds = time.perf_counter() - told_at
    finally:
        end(process)

    assert while_draining == 200
    assert seconds >= 1.5
    assert "api_drains" in (tmp_path / "api.log").read_text()


def status_of(url: str) -> int:
    with suppress(httpx.TransportError):
        return httpx.get(url).status_code
    return 0


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        process.kill()
    process.wait()


def test_a_service_whose_terminal_is_closed_ends_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", str(free_port())]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, "--data-dir", tmp_path / "data"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    while b"promobandit is ready" not in said:
        said += os.read(ours, 1_000)
    started = psutil.Process(process.pid).children(recursive=True)

    os.close(ours)
    process.send_signal(signal.SIGHUP)

    assert process.wait(40) == 0
    assert [child.pid for child in started if child.is_running()] == []
