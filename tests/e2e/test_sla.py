"""A running service says itself whether it keeps its promises, all processes together."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.limits import BATCH_BODY_BYTES_MAX
from tests.e2e.marketing import Marketing, wait_until
from tests.servers import RunningService, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LARGE_SENDS = 3  # Of the most places that one may take: together all that such may have.
REFUSED = 10
REPORTS = 100


@contextmanager
def service_of(directory: Path, processes: int) -> Iterator[RunningService]:
    with promobandit_service(directory / "data", "--workers", str(processes)) as running:
        marketing = Marketing(running.url)
        with marketing.client:
            marketing.put("spring")
        yield running


def check(service: RunningService, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "sla", "check", "--url", service.url, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def level(service: RunningService, route: str) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/sla").json()
    found = next(each for each in answer["routes"] if each["route"] == route)
    hour: dict[str, Any] = found["windows"]["1h"]
    return hour


@contextmanager
def large_sends_under_way(service: RunningService) -> Iterator[None]:
    """Begin sends that never come, and so take the places of others."""
    host, port = service.url.removeprefix("http://").split(":")
    head = "POST /choose/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {BATCH_BODY_BYTES_MAX}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(LARGE_SENDS):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(head.encode())
        yield


def send(service: RunningService) -> int:
    units = [f"unit-{number}" for number in range(200)]
    body = {"experiment": "spring", "occasion": "first", "units": units}
    return httpx.post(f"{service.url}/choose/batch", json=body).status_code


def test_promises_are_kept_until_sends_are_refused(tmp_path: Path) -> None:
    with service_of(tmp_path, 1) as service:  # So that all are refused that find no room.
        nothing_yet = check(service, "--window", "30d")
        with httpx.Client(base_url=service.url) as client:
            for _ in range(REPORTS):
                client.get("/experiments/spring/report").raise_for_status()
        kept = check(service)
        with large_sends_under_way(service):
            wait_until(lambda: send(service) == 503)
            refused = [send(service) for _ in range(REFUSED)].count(503)
        broken = check(service)
        other = check(service, "--key-file", str(tmp_path / "none"))
        bad = level(service, "POST /choose/batch")["bad"]

    assert (nothing_yet.returncode, kept.returncode) == (2, 0), kept.stdout + kept.stderr
    assert refused == REFUSED
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert broken.stdout.endswith("broken\n")
    assert other.returncode == 2
    assert bad >= REFUSED


def test_each_process_soon_answers_for_all(tmp_path: Path) -> None:
    params = {"experiment": "spring", "unit": "u", "format": "text"}
    with service_of(tmp_path, 2) as service:
        for _ in range(20):  # A connection each, so that both processes are asked.
            httpx.get(f"{service.url}/choose", params=params).raise_for_status()

        def all_know() -> bool:
            seen = {level(service, "GET /choose")["requests"] for _ in range(8)}
            return seen == {20}

        wait_until(all_know, seconds=40)
        metrics = httpx.get(f"{service.url}/metrics").text

    assert 'promobandit_sla_requests_total{route="GET /choose",verdict="good"}' in metrics
    assert 'promobandit_sla_good_ratio{route="GET /choose",window="1h"} 1.0' in metrics
