"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on heads and on slow clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from service.api.errors import PROBLEM_MEDIA_TYPE, problem_of_status
from service.api.security_headers import SECURITY_HEADERS
from service.api.transport import CorkedTransport
from service.domain.limits import (
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    RECEIVE_SECONDS_MAX,
    URL_BYTES_MAX,
)

KEEP_ALIVE_SECONDS = 75  # Longer than load balancers keep idle connections: 60 s, mostly.
# A refused client may still be sending. Were the socket closed at once, the kernel would reset
# the connection, and the answer might be lost.
LINGER_SECONDS = 2
IDLE_SECONDS_AT_END = 0.3


# What a connection may await of its client; plain numbers, because every request sets them thrice.
_NOTHING, _HEAD, _BODY = range(3)


class HeadRefusedError(Exception):
    """A head beyond our limits; raised through the parser."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


def _nobody(_status: int) -> None:
    return


class Protocol(HttpToolsProtocol):
    """One connection; `refused` is told the status of what never reached the application.

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
        refused: Callable[[int], None] = _nobody,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refused = refused
        self._awaited = _NOTHING
        self._seconds = 0  # Waited for what is awaited.
        self._read_bytes = 0  # Of the last read.
        self._head_bytes = 0  # Of the head's reads after its first.
        self._is_refused = False
        self._is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Cork the transport."""
        super().connection_made(cast(asyncio.Transport, CorkedTransport(transport)))

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what is not HTTP or beyond the limits."""
        if self._is_refused:
            return
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if no upgrade were wished; what follows in the other protocol is not read.
            self.cycle.keep_alive = False
            self._is_refused = True
        except httptools.HttpParserError as error:
            cause = error.__context__
            status = HTTPStatus.BAD_REQUEST
            self._refuse(cause.status if isinstance(cause, HeadRefusedError) else status)
        else:
            if self._awaited == _HEAD:
                self._check_unfinished_head()

    def on_message_begin(self) -> None:
        """Await the head."""
        HttpToolsProtocol.on_message_begin(self)
        self._awaited = _HEAD
        self._seconds = 0
        self._head_bytes = -self._read_bytes

    def on_headers_complete(self) -> None:
        """Check the head, and start the application on it."""
        is_large = self._read_bytes > URL_BYTES_MAX or self._head_bytes >= 0
        if is_large or len(self.headers) > HEADERS_MAX:
            self._check_head()
        HttpToolsProtocol.on_headers_complete(self)
        if self._is_ending:
            self.cycle.keep_alive = False
        self._awaited = _BODY
        self._seconds = 0

    def on_message_complete(self) -> None:
        """Await nothing more."""
        self._awaited = _NOTHING
        self._seconds = 0
        HttpToolsProtocol.on_message_complete(self)

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
        if self.flow.read_paused:  # Then it is us who are slow.
            return
        self._seconds += 1
        if self._is_refused or self._awaited == _NOTHING:
            seconds_max = LINGER_SECONDS if self._is_refused else KEEP_ALIVE_SECONDS
            if self._seconds > seconds_max and not self._is_answering():
                self.transport.close()
        elif self._seconds > RECEIVE_SECONDS_MAX:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

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

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return not (cycle is None or cycle.response_complete or cycle.disconnected)

    def _check_unfinished_head(self) -> None:
        self._head_bytes += self._read_bytes
        if self._head_bytes > URL_BYTES_MAX + HEADERS_BYTES_MAX:
            is_url = len(self.url) > URL_BYTES_MAX
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG if is_url else _HEADERS_TOO_LARGE)

    def _check_head(self) -> None:
        if len(self.url) > URL_BYTES_MAX:
            raise HeadRefusedError(HTTPStatus.REQUEST_URI_TOO_LONG)
        size = sum(len(name) + len(value) for name, value in self.headers)
        if size > HEADERS_BYTES_MAX or len(self.headers) > HEADERS_MAX:
            raise HeadRefusedError(_HEADERS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with a problem where an answer can still be written, and close."""
        cycle, is_body = self.cycle, self._awaited == _BODY
        self._is_refused = True
        self._seconds = 0
        if self._is_answering() and not is_body:
            cycle.keep_alive = False  # The answer under way is the last.
        elif is_body and (cycle.response_started or self.pipeline):
            self.transport.close()
        else:
            if is_body:  # The application learns that its client is gone.
                cycle.disconnected = True
                cycle.message_event.set()
            else:
                self._refused(status)
            self.transport.write(_refusal(status, self.server_state.default_headers))
            self.transport.write_eof()


_HEADERS_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def _refusal(status: HTTPStatus, defaults: list[tuple[bytes, bytes]]) -> bytes:
    body = problem_of_status(status)
    headers = [
        *defaults,
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[status] + lines + b"\r\n" + body
