"""The open loop holds a stall of the server against it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from loadtests.connections import NO_ANSWER
from loadtests.open_loop import (
    OpenLoopError,
    Planned,
    http_request,
    open_loop,
    percentile,
    planned_loop,
)

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
STALL_SECONDS = 0.3
RATE = 200.0


class StallingServer:
    """Answers one request after the other, and once sleeps before it answers."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._asked = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while client.recv(4_096):
                with self._lock:
                    self._asked += 1
                    if self._asked == 50:
                        time.sleep(STALL_SECONDS)
                    client.sendall(self._answer)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def request(number: int) -> bytes:
    return http_request("/choose", b'{"unit":"%06d"}' % number)


@pytest.fixture
def server() -> Iterator[StallingServer]:
    stalling = StallingServer(ANSWER)
    yield stalling
    stalling.close()


def test_everybody_who_came_during_a_stall_waited_for_its_end(server: StallingServer) -> None:
    latencies = open_loop(server.port, RATE, 1.0, request)

    assert len(latencies) == RATE
    # Requests came all through the stall: about as many waited longer than half of it.
    assert sum(latency > STALL_SECONDS / 2 for latency in latencies) >= RATE * STALL_SECONDS / 3


def test_an_answer_that_is_no_success_spoils_the_run() -> None:
    server = StallingServer(REFUSAL)

    with pytest.raises(OpenLoopError, match="503"):
        open_loop(server.port, RATE, 0.1, request)

    server.close()


def test_who_is_not_answered_in_time_is_counted_with_the_time_it_waited(
    server: StallingServer,
) -> None:
    plan = (Planned(number / RATE, request(number), "/choose") for number in range(100))

    answers = planned_loop(("127.0.0.1", server.port), plan, STALL_SECONDS / 2)

    unanswered = [answer for answer in answers if answer.status == NO_ANSWER]
    assert len(answers) == 100
    assert unanswered
    assert min(answer.latency for answer in unanswered) >= STALL_SECONDS / 2
    assert {answer.route for answer in answers} == {"/choose"}


def test_a_server_that_is_gone_leaves_requests_unanswered_and_the_sender_alive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])

    answers = planned_loop(("127.0.0.1", port), [Planned(0.0, request(0))], 1.0)

    assert [answer.status for answer in answers] == [NO_ANSWER]


def test_a_request_larger_than_the_kernels_buffers_arrives_whole() -> None:
    body = b"x" * (8 << 20)
    message = http_request("/choose/batch", body)
    arrived = bytearray()

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            while len(arrived) < len(message):
                arrived.extend(client.recv(1 << 20))
            client.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        thread = threading.Thread(target=serve)
        thread.start()
        answers = planned_loop(("127.0.0.1", port), [Planned(0.0, message)], 10.0)
        thread.join()

    assert [answer.status for answer in answers] == [200]
    assert bytes(arrived) == message


def test_a_connection_closed_for_being_idle_costs_no_request() -> None:
    def serve() -> None:
        for _ in range(2):  # A connection each: the first is closed when it is asked again.
            client, _ = listener.accept()
            with client:
                client.recv(4_096)
                client.sendall(ANSWER)
                client.recv(4_096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        thread = threading.Thread(target=serve)
        thread.start()
        plan = [Planned(0.0, request(0)), Planned(0.1, request(1))]
        answers = planned_loop(("127.0.0.1", port), plan, 5.0)
        thread.join()

    assert [answer.status for answer in answers] == [200, 200]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], 0.99) == 100.0
    assert percentile([1.0], 0.99) == 1.0
