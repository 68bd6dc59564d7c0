"""The running service outlives crowds of silent clients, slow readers and wishes for HTTP/2."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.domain.limits import STALL_SECONDS_MAX
from tests.e2e.marketing import VARIANTS
from tests.servers import RunningService, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FILES = 400
CROWD = 600
WISH = (
    b"POST /choose HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
)
SEND = 10_000  # Units of one call, whose answer is a megabyte.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    within = ("sh", "-c", f'ulimit -S -n 100; ulimit -H -n {FILES}; exec "$0" "$@"')
    data_dir = tmp_path_factory.mktemp("crowds") / "data"
    with promobandit_service(data_dir, within=within) as running:
        httpx.put(f"{running.url}/experiments/spring", json={"variants": VARIANTS})
        yield running


def connect(service: RunningService) -> socket.socket:
    host, _, port = service.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def ended(service: RunningService, reason: str) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    name = f'promobandit_ended_connections_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_crowd_that_says_nothing_keeps_nobody_out(service: RunningService) -> None:
    with ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(connect(service))
        time.sleep(1.5)  # Until they count as idle.
        statuses = {httpx.get(f"{service.url}/livez", timeout=5).status_code for _ in range(20)}
        body = {"experiment": "spring", "unit": "u"}
        chosen = httpx.post(f"{service.url}/choose", json=body, timeout=5)
        given_way = ended(service, "gave_way")

    assert statuses == {200}
    assert (chosen.status_code, chosen.json()["source"]) == (200, "policy")
    assert given_way > 0


def test_readers_that_take_nothing_are_cut_off(service: RunningService) -> None:
    units = ",".join(f'"unit-{number}"' for number in range(SEND))
    body = f'{{"experiment": "spring", "occasion": "crowd", "units": [{units}]}}'.encode()
    head = (
        b"POST /choose/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with connect(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        for _ in range(12):  # More than the kernel keeps for both of us.
            connection.sendall(head + body)
        deadline = time.perf_counter() + STALL_SECONDS_MAX * 4
        while not ended(service, "stalled") and time.perf_counter() < deadline:
            time.sleep(0.5)

    assert ended(service, "stalled") == 1


def test_a_client_that_would_rather_speak_http2_is_answered(service: RunningService) -> None:
    body = b'{"experiment": "spring", "unit": "u"}'
    with connect(service) as connection:
        connection.sendall(WISH + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"decision_id" in answer


def test_the_log_has_no_failure(service: RunningService) -> None:
    log = Path(service.data_dir).with_suffix(".log").read_text()

    assert "Traceback" not in log
    assert "Too many open files" not in log
