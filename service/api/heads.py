"""The head of a request: what it may hold, what may follow it, and how one is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.errors import PROBLEM_MEDIA_TYPE, headers_of, problem_of_status
from service.api.security_headers import SECURITY_HEADERS
from service.domain.limits import (
    CONTENT_LENGTH_DIGITS_MAX,
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    TRAILERS_MAX,
    URL_BYTES_MAX,
)

Field = tuple[bytes, bytes]
FIELDS = "promobandit.fields"  # Where a scope holds its headers by name.
HEADERS_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class HeadRefusedError(Exception):
    """A head that is wrong or beyond our limits; raised through the parser."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class Trailers(list[Field]):
    """Where fields go that follow a body: nowhere. They must not stand beside the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0

    def append(self, _: Field) -> None:
        """Count a field; too many are refused."""
        self.dropped += 1
        if self.dropped > TRAILERS_MAX:
            raise HeadRefusedError(HEADERS_TOO_LARGE)


def check_size(url: bytes, headers: Sequence[Field]) -> None:
    """Raise `HeadRefusedError` for a head beyond the limits."""
    if len(url) > URL_BYTES_MAX:
        raise HeadRefusedError(HTTPStatus.REQUEST_URI_TOO_LONG)
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADERS_BYTES_MAX or len(headers) > HEADERS_MAX:
        raise HeadRefusedError(HEADERS_TOO_LARGE)


def fields_of(scope: MutableMapping[str, Any]) -> Mapping[bytes, bytes]:
    """Return a request's headers by name; the protocol has made the mapping already."""
    found: Mapping[bytes, bytes] | None = scope.get(FIELDS)
    return dict(scope["headers"]) if found is None else found


def checked_fields(
    headers: Sequence[Field], version_of: Callable[[], str]
) -> Mapping[bytes, bytes]:
    """Return headers by name, or raise `HeadRefusedError`: one host is named, lengths are short.

    The parser takes a length of thousands of digits if most are zeros; Python reads no such number.
    """
    fields = dict(headers)
    if len(fields) < len(headers) or b"host" not in fields:
        hosts = [name for name, _ in headers].count(b"host")
        if hosts > 1 or (not hosts and version_of() != "1.0"):
            raise HeadRefusedError(HTTPStatus.BAD_REQUEST)
    if len(fields.get(b"content-length", b"")) > CONTENT_LENGTH_DIGITS_MAX:
        raise HeadRefusedError(HTTPStatus.BAD_REQUEST)
    return fields


def without_upgrade(parser: HttpRequestParser, url: bytes, headers: Sequence[Field]) -> bytes:
    """Return a head again, without its wish to go on in another protocol."""
    version = parser.get_http_version().encode()
    lines = [b"%s %s HTTP/%s\r\n" % (parser.get_method(), url, version)]
    lines += [b"%s: %s\r\n" % field for field in headers if field[0] != b"upgrade"]
    return b"".join(lines) + b"\r\n"


def refusal(status: HTTPStatus, defaults: Sequence[Field]) -> bytes:
    """Return the whole answer to what does not reach the application; the connection ends."""
    body = problem_of_status(status)
    headers = [
        *defaults,
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.lower().encode(), text.encode()) for name, text in headers_of(status).items()),
        *SECURITY_HEADERS,
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[status] + lines + b"\r\n" + body
