"""A pool of connections without threads: requests go out at once, and answers come as they come."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

RECEIVE_BYTES = 1 << 18
CONNECT_SECONDS_MAX = 2.0
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
STATUS = slice(9, 12)  # Of an answer's first line.
NO_ANSWER = 0  # Stands for the status of a request that was never answered.

Address = tuple[str, int]


@dataclass(slots=True, eq=False)
class Request:
    """What is to be sent, when it was meant to leave, and when it did."""

    meant_at: float
    message: bytes
    route: str = ""
    left_at: float = 0.0
    marks: int = 0  # How often the pool's mark was in the answer.


Outcome = tuple[Request, int]  # And the status of its answer.


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    request: Request | None = None
    unsent: bytes = b""
    is_blocked: bool = False  # Whether the kernel would take no more.
    received: bytes = b""  # Of the answer's head, and what came with it.
    missing: int = 0  # Bytes of the answer that are still to come, once its head is there.
    is_used: bool = False  # Whether anything was ever answered here.


class Pool:
    """Keeps connections to one server and never waits for any single one of them."""

    def __init__(self, address: Address, connections_max: int, mark: bytes = b"") -> None:
        self._address = address
        self._mark = mark
        self._connections_max = connections_max
        self._poller = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._again: deque[Request] = deque()
        self._failed: deque[Outcome] = deque()

    def close(self) -> None:
        """Close all connections, whatever is under way."""
        for connection in self._connections.values():
            connection.socket.close()
        self._poller.close()

    def send(self, request: Request) -> bool:
        """Let a request leave; False when all connections are busy."""
        try:
            connection = self._free()
        except OSError:  # Nobody listens: that is an outcome, like a refusal.
            self._failed.append((request, NO_ANSWER))
            return True
        if connection is None:
            return False
        connection.request = request
        request.left_at = perf_counter()
        connection.unsent = request.message
        self._push(connection)
        return True

    def receive(self, seconds: float) -> Iterator[Outcome]:
        """Yield what was answered, waiting for the first one so long at most."""
        while self._failed:
            yield self._failed.popleft()
        # Unlike epoll's own, select's timeout is not rounded up to a millisecond.
        if seconds and not select.select([self._poller], [], [], seconds)[0]:
            return
        for number, events in self._poller.poll(0):
            connection = self._connections[number]
            if events & select.EPOLLOUT and connection.unsent:
                self._push(connection)
            if events & ~select.EPOLLOUT:
                outcome = self._read(connection)
                if outcome is not None:
                    yield outcome
        while self._again and self.send(self._again[0]):
            self._again.popleft()

    def expire(self, meant_before: float) -> Iterator[Outcome]:
        """Give up what was meant to leave before a time and is not answered yet."""
        for connection in list(self._connections.values()):
            request = connection.request
            if request is not None and request.meant_at < meant_before:
                self._drop(connection)
                yield request, NO_ANSWER

    def _free(self) -> _Connection | None:
        """Return an idle connection or a new one; None when all that may be are busy."""
        if self._idle:
            return self._idle.pop()  # The one used last: its caches are warm, as in a pool.
        if len(self._connections) >= self._connections_max:
            return None
        client = socket.create_connection(self._address, CONNECT_SECONDS_MAX)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        self._poller.register(client, select.EPOLLIN)
        made = self._connections[client.fileno()] = _Connection(client)
        return made

    def _push(self, connection: _Connection) -> None:
        """Send what the kernel takes; the rest waits until it takes more."""
        whole = len(connection.unsent)
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # The reading side finds it closed, and decides.
            sent = whole
        connection.unsent = connection.unsent[sent:]
        if connection.unsent or connection.is_blocked:
            connection.is_blocked = bool(connection.unsent)
            events = select.EPOLLIN | (select.EPOLLOUT if connection.is_blocked else 0)
            self._poller.modify(connection.socket, events)

    def _read(self, connection: _Connection) -> Outcome | None:
        """Take a part of an answer; return the outcome once it is whole, or will never be."""
        try:
            received = connection.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            received = b""
        if not received:
            return self._closed(connection)
        if self._mark and connection.request is not None:
            connection.request.marks += received.count(self._mark)
        if not _take(connection, received):
            return None
        request, connection.request = connection.request, None
        status = int(connection.received[STATUS])
        connection.received, connection.is_used = b"", True
        self._idle.append(connection)
        return None if request is None else (request, status)

    def _closed(self, connection: _Connection) -> Outcome | None:
        """Tell what a hang-up of the server means: nothing for an idle connection."""
        request, is_new = connection.request, not connection.is_used
        has_begun = bool(connection.received)
        self._drop(connection)
        if request is None:
            return None
        if is_new or has_begun:
            return request, NO_ANSWER
        # It was closed for being idle while the request was on its way: clients ask again.
        self._again.append(request)
        return None

    def _drop(self, connection: _Connection) -> None:
        if connection.request is None and connection in self._idle:
            self._idle.remove(connection)
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _take(connection: _Connection, received: bytes) -> bool:
    """Take a part of an answer, and say whether that is whole now.

    A body is only counted: joining the parts of large ones takes a sender longer than sending.
    """
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
