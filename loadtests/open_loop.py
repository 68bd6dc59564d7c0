"""An open-loop load generator: requests leave at set times, whatever became of those before.

A latency counts from the time a request was *meant* to leave, so a server that stalls pays for
everybody who would have come meanwhile (no coordinated omission). This is a plain epoll loop and
not asyncio, whose timers, uvloop's too, are no finer than a millisecond.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

# Enough for ten thousand requests a second at 20 ms each; more wait for a free connection.
CONNECTIONS = 256
DRAIN_SECONDS_MAX = 5.0
RECEIVE_BYTES = 1 << 18
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
STATUS = slice(9, 12)  # Of an answer's first line.
OK = 200


class OpenLoopError(RuntimeError):
    """The load did not go as planned, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """When a request was meant to leave, how long its answer took from then on, and which it was.

    Times are in seconds, the first from the start of the load.
    """

    meant_at: float
    latency: float
    status: int


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    meant_at: float = 0.0
    received: bytes = b""  # Of the answer's head, and what came with it.
    missing: int = 0  # Bytes of the answer that are still to come, once its head is there.


@dataclass(slots=True)
class _Run:
    poller: select.epoll
    port: int
    connections_max: int
    connections: dict[int, _Connection] = field(default_factory=dict)
    idle: deque[_Connection] = field(default_factory=deque)
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    answers: list[Answered] = field(default_factory=list)
    started: float = 0.0


def open_loop(
    port: int, rate: float, seconds: float, request: Callable[[int], bytes]
) -> list[float]:
    """Send `request(0)`, `request(1)`, .. at a constant rate; return the latencies in seconds."""
    answers = answered_loop(port, rate, seconds, request)
    refused = next((answer for answer in answers if answer.status != OK), None)
    if refused is not None:
        raise OpenLoopError(f"refused with {refused.status}")
    return [answer.latency for answer in answers]


def answered_loop(
    port: int,
    rate: float,
    seconds: float,
    request: Callable[[int], bytes],
    connections_max: int = CONNECTIONS,
) -> list[Answered]:
    """Do the same where refusals are expected; return all answers."""
    with select.epoll() as poller:
        run = _Run(poller, port, connections_max)
        try:
            _send_all(run, rate, int(rate * seconds), request)
        finally:
            _close(run)
    return run.answers


def closed_loop(
    port: int, callers: int, seconds: float, request: Callable[[int], bytes]
) -> list[Answered]:
    """Let some callers ask again as soon as they are answered; return all answers."""
    with select.epoll() as poller:
        run = _Run(poller, port, callers)
        try:
            _send_in_turn(run, seconds, request)
        finally:
            _close(run)
    return run.answers


def http_request(path: str, body: bytes) -> bytes:
    """Return a whole POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _connection(run: _Run) -> _Connection | None:
    """Return an idle connection or a new one; None when all that may be are busy."""
    if run.idle:
        return run.idle.pop()  # The one used last: its caches are warm, as in a pool.
    if len(run.connections) >= run.connections_max:
        return None
    client = socket.create_connection(("127.0.0.1", run.port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setblocking(False)
    run.poller.register(client, select.EPOLLIN)
    made = run.connections[client.fileno()] = _Connection(client)
    return made


def _close(run: _Run) -> None:
    for connection in run.connections.values():
        connection.socket.close()


def _send_all(run: _Run, rate: float, count: int, request: Callable[[int], bytes]) -> None:
    started = run.started = perf_counter()
    for number in range(count):
        meant_at = started + number / rate
        while (remaining := meant_at - perf_counter()) > 0:
            _receive(run, remaining)
        run.waiting.append((meant_at, request(number)))
        _send_waiting(run)
        _receive(run, 0)
    deadline = perf_counter() + DRAIN_SECONDS_MAX
    while len(run.answers) < count:
        if perf_counter() > deadline:
            raise OpenLoopError(f"{count - len(run.answers)} requests were not answered")
        _receive(run, 0.01)


def _send_in_turn(run: _Run, seconds: float, request: Callable[[int], bytes]) -> None:
    started = run.started = perf_counter()
    number = 0
    while perf_counter() - started < seconds:
        while not run.waiting:
            run.waiting.append((perf_counter(), request(number)))
            number += 1
            _send_waiting(run)
        _receive(run, 0.01)


def _send_waiting(run: _Run) -> None:
    while run.waiting:
        connection = _connection(run)
        if connection is None:
            return
        connection.meant_at, message = run.waiting.popleft()
        connection.socket.send(message)


def _receive(run: _Run, seconds: float) -> None:
    """Read the answers that are there, waiting for the first one so long at most."""
    # Unlike epoll's own, select's timeout is not rounded up to a millisecond.
    if seconds and not select.select([run.poller], [], [], seconds)[0]:
        return
    for number, _ in run.poller.poll(0):
        connection = run.connections[number]
        received = connection.socket.recv(RECEIVE_BYTES)
        if not received and connection in run.idle:  # Closed for being idle, as servers do.
            run.idle.remove(connection)
            del run.connections[number]
            connection.socket.close()
            continue
        if _take(connection, received):
            run.answers.append(_answered(run, connection))
            connection.received = b""
            run.idle.append(connection)
    _send_waiting(run)


def _answered(run: _Run, connection: _Connection) -> Answered:
    status = int(connection.received[STATUS])
    meant_at = connection.meant_at
    return Answered(meant_at - run.started, perf_counter() - meant_at, status)


def _take(connection: _Connection, received: bytes) -> bool:
    """Take a part of an answer, and say whether that is whole now.

    A body is only counted: joining the parts of large ones takes a sender longer than sending.
    """
    if not received:
        raise OpenLoopError("the server closed a connection")
    if connection.missing:
        connection.missing -= len(received)
        return connection.missing == 0
    connection.received += received
    head, end, body = connection.received.partition(HEAD_END)
    if not end:
        return False
    length = head.lower().partition(LENGTH)[2].partition(b"\r\n")[0]
    connection.missing = int(length) - len(body)
    return connection.missing == 0
