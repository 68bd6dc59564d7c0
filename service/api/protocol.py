"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on heads and on slow clients."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.heads import (
    FIELDS,
    HEADERS_TOO_LARGE,
    HeadRefusedError,
    Trailers,
    check_size,
    checked_fields,
    refusal,
    without_upgrade,
)
from service.api.room import Room, endless_room
from service.api.transport import CorkedTransport
from service.api.turnstile import Door, Gate
from service.domain.limits import (
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    RECEIVE_SECONDS_MAX,
    STALL_SECONDS_MAX,
    URL_BYTES_MAX,
)

KEEP_ALIVE_SECONDS = 75  # Longer than load balancers keep idle connections: 60 s, mostly.
# A refused client may still be sending. Were the socket closed at once, the kernel would reset
# the connection, and the answer might be lost.
LINGER_SECONDS = 2
LINGER_BYTES_MAX = 8 * 1024 * 1024
IDLE_SECONDS_AT_END = 0.3

# What a connection may await of its client; plain numbers, because every request sets them thrice.
_NOTHING, _HEAD, _BODY = range(3)


class Protocol(HttpToolsProtocol):
    """One connection; `door` knows what never reaches the application.

    Time is counted in ticks of the server, one a second for all connections: a request starts
    no timer. What every request runs calls uvicorn's methods by name, which is cheaper than super.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door = Door(),  # noqa: B008  It cannot be changed.
        room: Room | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refused, self._turnstile = door
        self._room = room or endless_room()
        self._awaited = _NOTHING
        self._seconds = 0  # Waited for what is awaited.
        self._read_bytes = 0  # Of the last read.
        self._idle_bytes = 0  # Of whole reads since a head began, it ended, or some body came.
        self._trailers = Trailers()
        self._is_turned_away = False
        self._is_refused = False
        self._is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Cork the transport, and refuse who finds no place."""
        self._corked = CorkedTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._corked))
        guests = cast(set[Protocol], self.connections)
        if not self._room.has_place(guests):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            if not self._room.may_linger(guests):
                self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what is not HTTP or beyond the limits."""
        if self._is_refused:
            self._idle_bytes += len(data)
            if self._idle_bytes > LINGER_BYTES_MAX and not self._is_answering():
                self.transport.close()
            return
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as stop:
            self._go_on(stop, memoryview(data))
        else:
            if self._awaited != _NOTHING:
                self._check_unfinished()

    def _go_on(self, stop: Exception | None, data: memoryview) -> None:
        """Go on as if no upgrade were wished; refuse what is not HTTP."""
        while isinstance(stop, httptools.HttpParserUpgrade):
            data = data[stop.args[0] :]
            stop = self._read_on(data)
        if stop is not None:
            cause = stop.__context__
            status = HTTPStatus.BAD_REQUEST
            self._refuse(cause.status if isinstance(cause, HeadRefusedError) else status)
        elif self._awaited != _NOTHING:
            self._check_unfinished()

    def _read_on(self, rest: memoryview) -> Exception | None:
        """Read a head again, and what follows it: the parser took a body for another protocol."""
        head = without_upgrade(self.parser, self.url, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(head)
            self.parser.feed_data(rest)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as stop:
            return stop
        return None

    def on_message_begin(self) -> None:
        """Await the head."""
        HttpToolsProtocol.on_message_begin(self)
        self._awaited = _HEAD
        self._seconds = 0
        self._idle_bytes = -self._read_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field; uvicorn's, which asks each whether it expects a `100 Continue`."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, and start the application on it."""
        is_large = self._read_bytes > URL_BYTES_MAX or self._idle_bytes >= 0
        if is_large or len(self.headers) > HEADERS_MAX:
            check_size(self.url, self.headers)
        fields = checked_fields(self.headers, self.parser.get_http_version)
        if b"expect" in fields:
            self.expect_100_continue = fields[b"expect"].lower() == b"100-continue"
        if self.parser.should_upgrade():
            # A tunnel cannot be taken for something else, as the wish for another protocol can.
            if self.parser.get_method() == b"CONNECT":
                raise HeadRefusedError(HTTPStatus.BAD_REQUEST)
            return
        gate = None if self._turnstile is None else self._turnstile.full_gate(self.url, fields)
        if gate is None or not self._turn_away(gate, fields):
            self.scope[FIELDS] = fields  # type: ignore[literal-required]
            HttpToolsProtocol.on_headers_complete(self)
            if self._is_ending:
                self.cycle.keep_alive = False
        self.headers = self._trailers  # What comes after the head is none of it.
        self._trailers.dropped = 0
        self._awaited = _BODY
        self._seconds = 0
        self._idle_bytes = -self._read_bytes

    def _turn_away(self, gate: Gate, fields: Mapping[bytes, bytes]) -> bool:
        """Answer a call that finds no room and read over its body; False: go on with it."""
        is_usual = self.parser.get_method() == b"POST" and self.parser.should_keep_alive()
        if not is_usual or self._is_ending or self.flow.write_paused or self._is_answering():
            return False
        answer = gate.refusal(fields, self.server_state.default_headers)
        if answer is not None:
            self.server_state.total_requests += 1
            self.transport.write(answer)
        self._is_turned_away = answer is not None
        return self._is_turned_away

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on; uvicorn's, which asks about upgrades each time."""
        self._idle_bytes = -self._read_bytes
        if self._is_turned_away:
            return
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Await nothing more; the head of a wished upgrade is read again first."""
        if self._awaited == _HEAD:
            return
        self._awaited = _NOTHING
        self._seconds = 0
        if self._is_turned_away:
            self._is_turned_away = False
            return
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, if it is there already; without uvicorn's idle timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._seconds = 0
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def tick(self) -> None:
        """Count one second; give up a client that is too slow."""
        self._corked.tick()
        if self._corked.stalled_seconds > STALL_SECONDS_MAX:
            self._room.stalled()
            self.give_way()
            return
        if self.flow.read_paused:  # Then it is us who are slow.
            return
        self._seconds += 1
        if self._is_refused or self._awaited == _NOTHING:
            if self._seconds > self._patience_seconds() and not self._is_answering():
                self.transport.close()
        elif self._seconds > RECEIVE_SECONDS_MAX:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def idleness(self) -> int:
        """Return for how long nothing was done here, with a start for who never asked anything."""
        if self._is_answering() or self._corked.is_waiting:
            return 0
        is_stranger = self._newest() is None or self._is_refused
        return self._seconds + (KEEP_ALIVE_SECONDS if is_stranger and self._seconds else 0)

    def give_way(self) -> None:
        """Close at once, whatever still waits to be taken."""
        self.transport.abort()

    def _patience_seconds(self) -> int:
        if self._is_refused:
            return LINGER_SECONDS
        return RECEIVE_SECONDS_MAX if self._newest() is None else KEEP_ALIVE_SECONDS

    def shutdown(self) -> None:
        """Answer what was asked, saying that it is the last, then close.

        Who is idle gets a moment: a busy client's next request may be on its way already. A
        request of which a part was read is waited for.
        """
        if self._is_refused and not self._is_answering():
            self.transport.close()
        elif not self._is_ending:
            self._is_ending = True
            if self._is_answering():
                self.cycle.keep_alive = False  # The newest one's: those before it go on first.
            self.loop.call_later(IDLE_SECONDS_AT_END, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._awaited == _NOTHING and not self._is_answering():
            self.transport.close()

    def _newest(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, whatever uvicorn's annotation says.

    def _is_answering(self) -> bool:
        cycle = self._newest()
        return not (cycle is None or cycle.response_complete or cycle.disconnected)

    def _check_unfinished(self) -> None:
        """Refuse a head that does not end, or what comes in a body's stead: trailers mostly."""
        self._idle_bytes += self._read_bytes
        if self._awaited == _BODY:
            if self._idle_bytes > HEADERS_BYTES_MAX:
                self._refuse(HEADERS_TOO_LARGE)
        elif self._idle_bytes > URL_BYTES_MAX + HEADERS_BYTES_MAX:
            is_url = len(self.url) > URL_BYTES_MAX
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG if is_url else HEADERS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with a problem where an answer can still be written, and close."""
        cycle, is_body = self.cycle, self._awaited == _BODY
        self._is_refused = True
        self._seconds = 0
        if self._is_answering() and not is_body:
            cycle.keep_alive = False  # The answer under way is the last.
        elif self._is_turned_away or (is_body and (cycle.response_started or self.pipeline)):
            self.transport.close()
        else:
            if is_body:  # The application learns that its client is gone.
                cycle.disconnected = True
                cycle.message_event.set()
            else:
                self._refused(status)
            self.transport.write(refusal(status, self.server_state.default_headers))
            self.transport.write_eof()
