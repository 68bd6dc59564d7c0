"""The running service gives clients 10 seconds for a request, and answers others meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from service.domain.limits import BATCH_BODY_BYTES_MAX, RECEIVE_SECONDS_MAX
from tests.servers import RunningService, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "a head": b"GET /livez HTTP/1.1\r\nHost:",
    "a hot body": POST % b"/choose" + b'Content-Length: 40\r\n\r\n{"exp',
    "a body in chunks": POST % b"/reward/batch" + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "a body of the inner routes": (
        b"PUT /experiments/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 40\r\n\r\n{"v'
    ),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with promobandit_service(tmp_path_factory.mktemp("slow") / "data") as running:
        yield running


def connect(service: RunningService) -> socket.socket:
    host, _, port = service.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answer_of(connection: socket.socket) -> bytes:
    answer = b""
    while more := connection.recv(65_536):
        answer += more
    connection.close()
    return answer


def test_a_client_that_drips_is_told_so_and_cut_off(service: RunningService) -> None:
    started = time.perf_counter()
    connections = {name: connect(service) for name in SLOW}
    for name, sent in SLOW.items():
        connections[name].sendall(sent)
    others = httpx.get(f"{service.url}/livez", timeout=5).status_code
    answers = {name: answer_of(connection) for name, connection in connections.items()}

    assert others == 200
    assert {answer.partition(b"\r\n")[0] for answer in answers.values()} == {
        b"HTTP/1.1 408 Request Timeout"
    }
    assert all(b"application/problem+json" in answer for answer in answers.values())
    assert time.perf_counter() - started > RECEIVE_SECONDS_MAX - 2


@pytest.mark.parametrize("path", ["/choose/batch", "/experiments/a"])
def test_a_body_without_end_is_a_413_while_it_comes(service: RunningService, path: str) -> None:
    method = "PUT" if "experiments" in path else "POST"
    head = POST.replace(b"POST", method.encode()) % path.encode()
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with connect(service) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(BATCH_BODY_BYTES_MAX // 65_536 + 2):
            connection.sendall(chunk)
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_a_refusal_is_counted(service: RunningService) -> None:
    with connect(service) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        answer_of(connection)

    counted = 'promobandit_requests_total{route="unmatched",status="400"}'
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    assert [line for line in lines if line.startswith(counted)] != []
