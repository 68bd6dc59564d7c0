"""The outermost ASGI callable: hot paths pass their gate here, ahead of FastAPI's middleware."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from http import HTTPStatus
from time import perf_counter

import structlog

from service.api.admission import Admission
from service.api.authentication import Authentication, Holder
from service.api.errors import FAILED, problem_of_status
from service.api.heads import fields_of
from service.api.hot import HotRoute, HotRoutes
from service.api.hot_http import (
    PROBLEM,
    Call,
    ClientGoneError,
    HttpError,
    HttpScope,
    Receive,
    Response,
    Send,
    problem_response,
    read_json,
    respond,
)
from service.api.request_ids import HARMLESS, REQUEST_ID_HEADER, request_id_of
from service.api.turnstile import Turnstile, length_of, told, weight_of
from service.errors import InvalidInputError, OverloadedError, ServiceError
from service.metrics import Metrics
from service.sla import TEMPLATE_BUDGET_MS

AsgiApp = Callable[[HttpScope, Receive, Send], Awaitable[None]]

BUDGET_HEADER = b"x-budget-ms"  # How long the caller waits; more than the longest is taken for it.
BODY_SECONDS = "promobandit.body_seconds"  # How long a request waited for its body.
_BUDGET = re.compile(rb"[0-9]+")

_log = structlog.get_logger(__name__)


class HotDispatcher:
    """Lets calls of the hot routes in and answers them; all else goes to the inner app."""

    def __init__(
        self,
        routes: HotRoutes,
        authentication: Authentication,
        admission: Admission,
        inner: AsgiApp,
        metrics: Metrics,
    ) -> None:
        self._by_path = routes.by_path
        self._authentication = authentication
        self._admission = admission
        self._inner = inner
        self._metrics = metrics
        self.turnstile = Turnstile(routes, authentication, admission, metrics)

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Answer a hot route, or pass the connection on."""
        by_method = self._by_path.get(scope["path"]) if scope["type"] == "http" else None
        if by_method is None:
            await self._inner(scope, receive, send)
            return
        started = perf_counter()
        route = by_method.get(scope["method"])
        headers = fields_of(scope)
        try:
            if route is None:
                response = _wrong_method(by_method)
            else:
                response = await self._answer(route, scope, headers, receive)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  The caller gets a problem, whatever it was.
            response = _failure(error, scope, headers)
        # What the caller takes to send the request and to take the answer is not our time.
        seconds = perf_counter() - started - scope.get(BODY_SECONDS, 0.0)
        request_id = _request_id(headers) if REQUEST_ID_HEADER in headers else None
        await respond(send, response, request_id)
        self._metrics.requested(scope["path"], response.status, seconds, scope["method"])

    async def _answer(
        self,
        route: HotRoute,
        scope: HttpScope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> Response:
        """Ask who it is, what is left to them and whether there is room, before reading it."""
        holder = self._holder(route, scope, headers)
        if holder.limit is not None:
            holder.limit.take(1)
        deadline = _deadline(headers[BUDGET_HEADER]) if BUDGET_HEADER in headers else None
        length = length_of(headers)
        limit = self._admission.limit(route.priority)
        weight = weight_of(limit, route, length)
        if limit.in_flight >= limit.places or not (weight == 1 or limit.has_room(weight)):
            raise self._admission.refuse(route.priority)
        limit.in_flight += weight
        started = perf_counter()
        try:
            body = b""
            if route.body_bytes_max:
                body = await read_json(headers, receive, length, route.body_bytes_max)
                scope[BODY_SECONDS] = perf_counter() - started
            owe = _free if holder.limit is None else holder.limit.owe
            tenant, query = holder.principal.tenant, scope["query_string"]
            return await route.handler(Call(tenant, body, query, owe, deadline))
        finally:
            limit.leave(weight, perf_counter() - started)

    def _holder(self, route: HotRoute, scope: HttpScope, headers: Mapping[bytes, bytes]) -> Holder:
        if not route.body_bytes_max and b"authorization" not in headers:
            found = self._authentication.url_holder(scope["query_string"])
            if found is not None:
                return found
        return self._authentication.holder(headers, route.scope)


def _free(_count: int) -> None:
    """Charge nobody."""


def _deadline(budget: bytes) -> float:
    """Return when the caller's patience ends, by the event loop's clock."""
    if not _BUDGET.fullmatch(budget):
        raise InvalidInputError("X-Budget-Ms must be a whole number of milliseconds")
    digits = budget.lstrip(b"0")
    is_long = len(digits) > len(str(TEMPLATE_BUDGET_MS))
    budget_ms = TEMPLATE_BUDGET_MS if is_long else min(int(digits or b"0"), TEMPLATE_BUDGET_MS)
    return asyncio.get_running_loop().time() + budget_ms / 1_000


def _request_id(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the caller's name for the request, if it is harmless."""
    shown = headers.get(REQUEST_ID_HEADER)
    return shown if shown is not None and HARMLESS.fullmatch(shown) else None


def _wrong_method(by_method: Mapping[str, HotRoute]) -> Response:
    allowed = ", ".join(sorted(by_method))
    return problem_response(
        405,
        "method-not-allowed",
        "Method not allowed",
        f"use {allowed}",
        (b"allow", allowed.encode()),
    )


def _failure(error: Exception, scope: HttpScope, headers: Mapping[bytes, bytes]) -> Response:
    """Return what the caller is told; only what nobody foresaw is logged, under a name."""
    if isinstance(error, HttpError):
        return error.response
    if isinstance(error, OverloadedError):  # Made once: there are many when time is short.
        return _refusal(str(error), error.retry_after_seconds)
    if isinstance(error, ServiceError):
        return told(error)
    request_id = request_id_of(scope["headers"])
    _log.error(
        "hot_route_failed", path=scope["path"], request_id=request_id.decode(), exc_info=error
    )
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    named = () if _request_id(headers) else ((REQUEST_ID_HEADER, request_id),)
    return Response(status, problem_of_status(status, FAILED), PROBLEM, named)


@cache
def _refusal(message: str, seconds: float) -> Response:
    return told(OverloadedError(message, seconds))
