"""The fault proxy does to connections what its modes say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import FaultProxy, Mode
from tests.servers import free_port

PATIENCE_SECONDS = 10.0
SILENCE_SECONDS = 0.2


class Echo:
    """A server that says everything back, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, once everybody has left."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        threads: list[threading.Thread] = []
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._answer, args=(connection,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while said := connection.recv(1_000):
                self.told.append(said)
                connection.sendall(said)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", free_port()), echo.address) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connected(proxy) as client:
        yield client


def connected(proxy: FaultProxy) -> socket.socket:
    assert isinstance(proxy.listen, tuple)
    return socket.create_connection(proxy.listen, timeout=PATIENCE_SECONDS)


def wait_for(echo: Echo, said: bytes) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while said not in echo.told:
        assert time.perf_counter() < deadline, f"{said!r} never arrived"
        time.sleep(0.005)


def is_silent(client: socket.socket) -> bool:
    client.settimeout(SILENCE_SECONDS)
    try:
        client.recv(1_000)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE_SECONDS)
    return False


def test_bytes_pass_both_ways(client: socket.socket) -> None:
    client.sendall(b"one")

    assert client.recv(1_000) == b"one"


def test_a_black_hole_holds_everything_until_it_ends(
    proxy: FaultProxy, echo: Echo, client: socket.socket
) -> None:
    proxy.switch(Mode.BLACK_HOLE)
    client.sendall(b"held")

    assert is_silent(client)
    assert echo.told == []
    proxy.mend()
    assert client.recv(1_000) == b"held"


def test_a_half_open_connection_brings_requests_and_no_answers(
    proxy: FaultProxy, echo: Echo, client: socket.socket
) -> None:
    proxy.switch(Mode.HALF_OPEN)
    client.sendall(b"heard")

    wait_for(echo, b"heard")
    assert is_silent(client)


def test_a_reset_after_apply_comes_instead_of_the_answer(
    proxy: FaultProxy, echo: Echo, client: socket.socket
) -> None:
    proxy.switch(Mode.RESET_AFTER_APPLY)
    client.sendall(b"applied")

    with pytest.raises(ConnectionResetError):
        client.recv(1_000)
    assert echo.told == [b"applied"]


def test_only_every_nth_answer_is_lost(proxy: FaultProxy) -> None:
    proxy.switch(Mode.RESET_AFTER_APPLY, every=2)
    answers = []
    for _ in range(4):
        with connected(proxy) as client, suppress(ConnectionResetError):
            client.sendall(b"x")
            answers.append(client.recv(1_000))

    assert answers == [b"x", b"x"]


def test_refusing_resets_who_is_there_and_turns_others_away(
    proxy: FaultProxy, client: socket.socket
) -> None:
    client.sendall(b"one")
    client.recv(1_000)
    proxy.switch(Mode.REFUSE)

    with pytest.raises(ConnectionResetError):
        client.recv(1_000)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.mend()
    with connected(proxy) as again:
        again.sendall(b"two")
        assert again.recv(1_000) == b"two"


def test_a_delay_once_holds_one_request_and_no_more(
    proxy: FaultProxy, client: socket.socket
) -> None:
    proxy.switch(Mode.DELAY_ONCE, delay_ms=300)
    began = time.perf_counter()
    client.sendall(b"late")
    client.recv(1_000)
    took = time.perf_counter() - began

    assert took >= 0.3
    client.sendall(b"soon")
    assert client.recv(1_000) == b"soon"


def test_leading_elsewhere_resets_the_connections_there_were(
    proxy: FaultProxy, client: socket.socket
) -> None:
    client.sendall(b"one")
    client.recv(1_000)
    other = Echo()
    proxy.lead_to(other.address)

    with pytest.raises(ConnectionResetError):
        client.recv(1_000)
    with connected(proxy) as again:
        again.sendall(b"two")
        again.recv(1_000)
    other.close()
    assert other.told == [b"two"]
