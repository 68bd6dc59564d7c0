"""Refuse at its head a call that cannot be let in: before a task, a scope or a body is made of it.

While three times as much is asked as can be answered, two of three calls are refused, and what a
refusal costs is taken from those who are let in. What is rare or needs more than a look goes on and
is refused by the dispatcher, in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.admission import Admission, Limit
from service.api.authentication import Authentication
from service.api.errors import headers_of, problem_of
from service.api.hot import HotRoute, HotRoutes
from service.api.hot_http import NOSNIFF, PROBLEM, UNCACHED, Response
from service.api.request_ids import REQUEST_ID_HEADER
from service.errors import ServiceError
from service.metrics import Metrics

BYTES_PER_PLACE = 512  # A call for 200 units weighs as much as 8 single ones.
LENGTH_DIGITS = 18
UNKNOWN_LENGTH = 10**LENGTH_DIGITS  # More than any body may have.
# Where a head has one of these, its answer or what follows it is not the usual one.
_UNUSUAL = frozenset({REQUEST_ID_HEADER, b"connection", b"expect", b"transfer-encoding"})

Field = tuple[bytes, bytes]


def _nobody(_status: int) -> None:
    return


class Turnstile:
    """What connections ask as soon as they have read a head."""

    def __init__(
        self,
        routes: HotRoutes,
        authentication: Authentication,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._gates = {
            path.encode(): Gate(path, route, authentication, admission, metrics)
            for path, by_method in routes.by_path.items()
            if (route := by_method.get("POST")) is not None
        }

    def full_gate(self, url: bytes, fields: Mapping[bytes, bytes]) -> Gate | None:
        """Return the gate of a POST's path, if it is one that has no room for the call."""
        gate = self._gates.get(url)
        return None if gate is None or gate.has_room(fields) else gate


class Door(NamedTuple):
    """What a connection asks of the rest: whom to tell of a status, and whom to turn away."""

    refused: Callable[[int], None] = _nobody
    turnstile: Turnstile | None = None


class Gate:
    """Where the calls of one path are refused."""

    def __init__(
        self,
        path: str,
        route: HotRoute,
        authentication: Authentication,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._path = path
        self._route = route
        self._limit = admission.limit(route.priority)
        self._authentication = authentication
        self._admission = admission
        self._metrics = metrics
        self._defaults: Sequence[Field] = ()
        self._answers: dict[float | None, bytes] = {}

    def has_room(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a call is let in now."""
        limit = self._limit
        if limit.in_flight >= limit.places:
            return False
        length = length_of(fields)
        return length < BYTES_PER_PLACE or limit.has_room(weight_of(limit, self._route, length))

    def refusal(self, fields: Mapping[bytes, bytes], defaults: Sequence[Field]) -> bytes | None:
        """Return the whole answer to a call that is refused; None: what is unusual goes on.

        `defaults` are the headers that every answer has.
        """
        if not _UNUSUAL.isdisjoint(fields) or not self._may_ask(fields):
            return None
        error = self._admission.refuse(self._route.priority)
        self._metrics.requested(self._path, HTTPStatus.SERVICE_UNAVAILABLE, 0.0, "POST")
        if defaults is not self._defaults:  # They have the time, and are made each second.
            self._defaults = defaults
            self._answers.clear()
        answer = self._answers.get(error.retry_after_seconds)
        if answer is None:
            answer = self._answers[error.retry_after_seconds] = _spelt(told(error), defaults)
        return answer

    def _may_ask(self, fields: Mapping[bytes, bytes]) -> bool:
        try:
            return self._authentication.holder(fields, self._route.scope).limit is None
        except ServiceError:
            return False


def length_of(fields: Mapping[bytes, bytes]) -> int:
    """Return the length of the body in bytes; one of unknown length has the longest."""
    length = fields.get(b"content-length")
    if length is None:
        return UNKNOWN_LENGTH if b"transfer-encoding" in fields else 0
    return int(length) if len(length) <= LENGTH_DIGITS else UNKNOWN_LENGTH


def weight_of(limit: Limit, route: HotRoute, length: int) -> int:
    """Return how many places a call takes; nearly all are single choices, and take one."""
    if length < BYTES_PER_PLACE:
        return 1
    return limit.weight(min(length, route.body_bytes_max) // BYTES_PER_PLACE)


def told(error: ServiceError) -> Response:
    """Return what a caller is told by an error."""
    status, body = problem_of(error)
    extra = headers_of(status, error.retry_after_seconds)
    encoded = tuple((name.lower().encode(), text.encode()) for name, text in extra.items())
    return Response(status, body, PROBLEM, encoded)


def _spelt(response: Response, defaults: Sequence[Field]) -> bytes:
    """Return a response as it is written, with what the dispatcher and the server add to it."""
    headers = [
        *defaults,
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        NOSNIFF,
        *response.headers,
        *UNCACHED,
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[response.status] + lines + b"\r\n" + response.body
