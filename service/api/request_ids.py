"""A name for each request, which its log lines and its answer carry."""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

REQUEST_ID_HEADER = b"x-request-id"
HARMLESS = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_BYTES = 12


def request_id_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the name the caller gave a request if it is harmless, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER and HARMLESS.fullmatch(value):
            return value
    return secrets.token_hex(_BYTES).encode()


class RequestIds:
    """Names each request in the context of its log lines and in its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        # It stays bound: the request's task ends with it, after the server has logged its failure.
        bind_contextvars(request_id=request_id.decode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (REQUEST_ID_HEADER, request_id)]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, named)
