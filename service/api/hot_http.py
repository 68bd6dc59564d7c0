"""The little HTTP that the hot routes need: calls in, responses out, errors said shortly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from service.api import strict_json
from service.api.errors import problem
from service.errors import InvalidInputError

HttpScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

JSON = b"application/json"
PROBLEM = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"
NOSNIFF = (b"x-content-type-options", b"nosniff")
ERROR_STATUS = 400
UNCACHED = ((b"cache-control", b"no-store"),)  # For GET; nobody may cache a POST.


class Response(NamedTuple):
    """A whole response; hot answers are never streamed."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that was let in; `deadline` is a time of the event loop, None without a budget."""

    tenant: int
    body: bytes
    query: bytes
    owe: Callable[[int], None]  # Told how many more units than one the call holds.
    deadline: float | None


class HttpError(Exception):
    """A request that is wrong as HTTP; `response` is what the caller is told."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class ClientGoneError(Exception):
    """The client hung up while its body was read."""


def problem_response(
    status: int, slug: str, title: str, detail: str, *headers: tuple[bytes, bytes]
) -> Response:
    """Return a problem+json response."""
    return Response(status, problem(status, title, detail, slug), PROBLEM, headers)


async def read_json(
    headers: Mapping[bytes, bytes], receive: Receive, length: int, bytes_max: int
) -> bytes:
    """Return a JSON request's body, or raise `HttpError` 413 or 415 before it is all read.

    `length` is what its head says; a body of unknown length is counted while it is read.
    """
    if length > bytes_max and b"transfer-encoding" not in headers:
        raise HttpError(_too_large(bytes_max))
    media_type = headers.get(b"content-type", b"")
    if media_type != JSON and media_type.partition(b";")[0].strip().lower() != JSON:
        raise HttpError(
            problem_response(
                415, "unsupported-media-type", "Unsupported media type", "send application/json"
            )
        )
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        message, body = await _rest(receive, body, bytes_max)
    if len(body) > bytes_max:  # Without a length, even one part may be too much.
        raise HttpError(_too_large(bytes_max))
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return body


async def _rest(receive: Receive, body: bytes, bytes_max: int) -> tuple[Message, bytes]:
    """Return the last message and the body, read until it ends or is too large."""
    message: Message = {"more_body": True}
    parts = [body]
    size = len(body)
    while message.get("more_body") and size <= bytes_max:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return message, b"".join(parts)


def _too_large(bytes_max: int) -> Response:
    detail = f"the body may have {bytes_max} bytes at most"
    return problem_response(413, "content-too-large", "Content too large", detail)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Return the decoded body, or raise `InvalidInputError` without a word of the input."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_reason(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInputError("the body is not valid JSON") from None


def refuse_repeated_names(body: bytes) -> None:
    """Raise `InvalidInputError` for an object that gives a name twice.

    The decoder takes the last of them, and somebody on the way may have looked at the first. A
    body with no more colons than members has no room for one more: callers look there first, for
    reading it again takes longer than deciding.
    """
    strict_json.loads(body)


def _reason(message: str) -> str:
    """Return msgspec's reason unless it repeats what the caller sent: a field's or enum's name."""
    if message.startswith("Object contains unknown field"):
        return "a field is not in the schema"
    if "Invalid" in message:
        return "a value is not in the schema"
    return message


async def respond(send: Send, response: Response, request_id: bytes | None = None) -> None:
    """Send a whole response."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        NOSNIFF,
        *response.headers,
    ]
    if response.status >= ERROR_STATUS:
        headers += UNCACHED
    if request_id is not None:
        headers.append((b"x-request-id", request_id))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
