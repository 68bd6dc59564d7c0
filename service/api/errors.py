"""Errors in HTTP: one status for every domain error, and problem documents (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route

from service import errors
from service.errors import ServiceError

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
AUTHENTICATE = 'Bearer realm="promobandit", Basic realm="promobandit", charset="UTF-8"'
FIELD_ERRORS_MAX = 10
DETAIL_LENGTH_MAX = 300
FAILED = "The server failed; see its log"

STATUS_OF: Mapping[type[ServiceError], HTTPStatus] = {
    errors.InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedFeatureError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ExperimentNotFoundError: HTTPStatus.NOT_FOUND,
    errors.VariantNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ExperimentNotStartedError: HTTPStatus.CONFLICT,
    errors.StateConflictError: HTTPStatus.CONFLICT,
    errors.RevisionConflictError: HTTPStatus.CONFLICT,
    errors.NoEligibleVariantError: HTTPStatus.CONFLICT,
    errors.DecisionNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ErasureNotFoundError: HTTPStatus.NOT_FOUND,
    errors.WebhookNotFoundError: HTTPStatus.NOT_FOUND,
    errors.WindowClosedError: HTTPStatus.GONE,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.RetryLaterError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LedgerUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutboxUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RedisUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.PositionMovedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LedgerWentBackError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.PoisonRecordError: HTTPStatus.UNPROCESSABLE_ENTITY,
}

# Where the standard library's phrase is an old one.
_TITLES: Mapping[int, str] = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content too large"}
# What a refused field is told, by pydantic's error type. Its own messages may quote the input;
# ours only name limits, which come from our schema.
_REASONS = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "extra_forbidden": "is not a field of this body",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be an integer",
    "json_invalid": "is not valid JSON",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be a string",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "value_error": "{error}",  # The message of a validator of ours.
}


class FieldError(msgspec.Struct, frozen=True):
    """One refused field: where it stands, and why."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()


def problem(
    status: int, title: str, detail: str, slug: str, fields: Sequence[FieldError] = ()
) -> bytes:
    """Return a problem document; the slug is the stable name of its type."""
    document = Problem(f"/problems/{slug}", title, int(status), detail[:DETAIL_LENGTH_MAX], fields)
    return msgspec.json.encode(document)


def problem_of(error: ServiceError) -> tuple[int, bytes]:
    """Return the status and the problem document of a domain error."""
    words = _words(type(error))
    title = words.capitalize()
    status = STATUS_OF[type(error)]
    return status, problem(status, title, str(error) or title, words.replace(" ", "-"))


def problem_of_status(status: int, detail: str = "") -> bytes:
    """Return the problem document of an HTTP status that no domain error stands for."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase.capitalize()
    return problem(status, title, detail or title, title.lower().replace(" ", "-"))


def not_ready(reasons: Sequence[str]) -> Response:
    """Return what a process says that should not be sent traffic."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return response(status, problem(status, "Not ready", "; ".join(reasons), "not-ready"))


def headers_of(status: int, retry_after_seconds: float | None = None) -> dict[str, str]:
    """Return the headers that an error answer carries besides its content type."""
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": AUTHENTICATE}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        return {"Retry-After": str(ceil(retry_after_seconds or RETRY_AFTER_SECONDS))}
    return {}


def field_errors_of(found: Iterable[Mapping[str, Any]], names: Container[str]) -> list[FieldError]:
    """Translate pydantic's errors into our own words, which never quote the input."""
    listed = [FieldError(_field_of(each, names), _reason_of(each)) for each in found]
    return listed[:FIELD_ERRORS_MAX]


def install(app: FastAPI, routes: Sequence[APIRoute], names: Container[str]) -> None:
    """Make every error of an application a problem document; a 405 names all methods served.

    `names` are the fields of our schemas: no other name comes back.
    """
    app.state.routes = routes
    app.state.field_names = names
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


def response(status: int, document: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document as a response."""
    return Response(document, status, {**headers_of(status), **(headers or {})}, PROBLEM_MEDIA_TYPE)


async def _on_service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  # Starlette types handlers by Exception.
    return on_service_error(error)


def on_service_error(error: ServiceError) -> Response:
    """Return what the caller is told of a domain error."""
    return response(
        *problem_of(error), headers_of(STATUS_OF[type(error)], error.retry_after_seconds)
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fields = field_errors_of(error.errors(), request.app.state.field_names)
    detail = "; ".join(f"{each.field} {each.reason}" for each in fields)
    return response(status, problem(status, "Invalid input", detail, "invalid-input", fields))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status, headers = error.status_code, error.headers
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}  # The router names its first route's.
    return response(status, problem_of_status(status), headers)


async def _on_exception(_: Request, __: Exception) -> Response:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return response(status, problem_of_status(status, FAILED))


def _methods(request: Request) -> list[str]:
    """Return what is served under a request's path."""
    others = [route for route in request.app.routes if isinstance(route, Route)]
    path, routes = request.scope["path"], [*others, *request.app.state.routes]
    found = {name for r in routes if r.path_regex.match(path) for name in r.methods}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _words(error: type[ServiceError]) -> str:
    """Return `ExperimentNotFoundError` as "experiment not found"."""
    name = error.__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def _field_of(found: Mapping[str, Any], names: Container[str]) -> str:
    """Return a location as a dotted path; a name that a caller made up is "?" in it."""
    place, *parts = found["loc"]
    if place != "body":  # A parameter, which is there only if it is ours.
        return ".".join(map(str, found["loc"]))
    if found["type"] == "json_invalid":  # Its location is an offset in the text.
        return "body"
    named = [str(part) if isinstance(part, int) or part in names else "?" for part in parts]
    return ".".join(named) or "body"


def _reason_of(found: Mapping[str, Any]) -> str:
    return _REASONS.get(found["type"], "is not valid").format(**found.get("ctx", {}))
