"""JSON bodies read strictly: what two parsers could read differently is refused."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.domain.limits import BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_INTEGER_DIGITS_MAX
from service.errors import InvalidInputError

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `loads`."""

    def get_route_handler(self) -> _Handler:
        """Return a handler that reads the body before FastAPI does."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strict(request: Request) -> Response:
            read = StrictRequest(request.scope, request.receive)
            # FastAPI would answer our reasons as a bare 400: here they reach our own handlers.
            await read.json()
            return await handle(read)

        return strict


class StrictRequest(Request):
    """A request whose JSON is read once, and strictly."""

    async def json(self) -> Any:  # noqa: ANN401  Any JSON.
        """Return the body's value, or raise `InvalidInputError`; no body is None."""
        if not hasattr(self, "_json"):
            body = await self._whole_body()
            if not body:
                self._json: Any = None
            elif (
                len(body) > BODY_BYTES_MAX
            ):  # Beside the event loop: it takes longer than a choice.
                self._json = await asyncio.to_thread(loads, body)
            else:
                self._json = loads(body)
        return self._json

    async def _whole_body(self) -> bytes:
        try:
            return await self.body()
        except ClientDisconnect:  # Nobody hears it; it is what the connection said if it could.
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None


def loads(body: bytes) -> Any:  # noqa: ANN401  Any JSON.
    """Return the value of a JSON text, or raise `InvalidInputError` without a word of it."""
    try:
        value = _decode(body.decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInputError("the body is not valid JSON") from None
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidInputError("an object of the body names a key twice")
    return found


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > JSON_INTEGER_DIGITS_MAX:
        raise InvalidInputError(f"an integer may have {JSON_INTEGER_DIGITS_MAX} digits at most")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidInputError("a number of the body is too large")
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise InvalidInputError("the body is not valid JSON")  # NaN and the infinities.


_decode = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_real,
    parse_constant=_refuse_constant,
).decode


def _check(value: Any) -> None:  # noqa: ANN401  Any JSON.
    """Raise if a value is nested too deeply, or holds text that no database takes."""
    level, depth = [value], 1
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, str):
                _check_text(each)
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, dict):
                inner += [*each, *each.values()]
        if depth > JSON_DEPTH_MAX and any(isinstance(each, list | dict) for each in level):
            raise InvalidInputError(f"the body may be nested {JSON_DEPTH_MAX} levels deep at most")
        level, depth = inner, depth + 1


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidInputError("a text of the body has a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInputError("a text of the body has half of a surrogate pair")
