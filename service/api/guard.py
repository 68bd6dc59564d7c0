"""What every request passes before FastAPI reads it: body limits, HEAD, and the stopwatch."""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import problem_of_status, response
from service.domain.limits import BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, VARIANTS_MAX
from service.metrics import UNMATCHED, Metrics

# Room for a definition whose every variant has the largest payload.
DEFINITION_BYTES_MAX = VARIANTS_MAX * PAYLOAD_BYTES_MAX + BODY_BYTES_MAX
# Starlette's routes end in `$`, which lets a line end follow: `/trail%0A` would be `/trail`.
_NOT_FOUND = HTTPStatus.NOT_FOUND
_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_NOT_JSON = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class BodyGuard:
    """Refuses line ends in paths, and bodies that are too large, said so or not, or no JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404, 413 or 415, or pass the request on with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = _NOT_FOUND if "\n" in scope["path"] else _refusal(Headers(scope=scope))
        if refused is None:
            await self._app(scope, _counted(receive), send)
        else:
            await response(refused, problem_of_status(refused))(scope, receive, send)


class HeadAsGet:
    """Answers HEAD as GET is answered, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as a GET, and keep its answer's body back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_over = False

        async def bodiless(message: Message) -> None:
            nonlocal is_over
            if message["type"] == "http.response.start":
                await send(message)
            elif not is_over:  # The end of the answer makes a stream behind it stop.
                is_over = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, bodiless)


class Stopwatch:
    """Counts requests and their time under the template of their route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            seconds = perf_counter() - started
            self._metrics.requested(route, status, seconds, scope["method"])


def _refusal(headers: Headers) -> HTTPStatus | None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > DEFINITION_BYTES_MAX:
        return _TOO_LARGE
    has_body = length != "0" or "transfer-encoding" in headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return _NOT_JSON if has_body and media_type != "application/json" else None


def _counted(receive: Receive) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > DEFINITION_BYTES_MAX:
            raise HTTPException(_TOO_LARGE)
        return message

    return counted
