"""Find out whom a request acts as: API keys as Bearer, Basic, or in the URL of GET /choose."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Protocol

from service.domain.access import (
    KEY_MARK,
    OPEN_PRINCIPAL,
    SERVICE_SCOPES,
    Principal,
    Scope,
)
from service.domain.experiment import DEFAULT_TENANT
from service.errors import ForbiddenError, UnauthenticatedError

BEARER = b"Bearer "
NO_KEY = "show a valid API key"
# What an e-mail template can send is a URL; such keys leak easily, so they may do nothing else.
URL_KEY_SCOPES = frozenset({Scope.CHOOSE})
# A web page elsewhere may have its own name resolve to this machine, and have a browser here ask
# an open service; the browser then names the page's host.
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
_PROXIES = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"via"})
_BROWSERS_AND_PROXIES = _PROXIES | {b"sec-fetch-site", b"origin"}
LOCAL_HOSTS_MAX = 64  # Names of this machine that were found to be one.
_URL_KEY = re.compile(rb"(?:^|&)key=([^&]*)")

Headers = Mapping[bytes, bytes]


class RateLimit(Protocol):
    """How much a key may do."""

    def take(self, count: int) -> None:
        """Use some of it up, or raise `RateLimitedError`."""
        ...

    def owe(self, count: int) -> None:
        """Use some more of it up, of a call that was let in."""
        ...


class Holder(Protocol):
    """Who holds a key."""

    @property
    def principal(self) -> Principal:
        """Whom the key's holder acts as."""
        ...

    @property
    def limit(self) -> RateLimit | None:
        """What bounds the holder's rate, if anything does."""
        ...


class Keyring(Protocol):
    """The keys that this process knows."""

    def open_principal(self) -> Principal | None:
        """Return whom everybody acts as while no key is needed, else None.

        Raises `UnavailableError` as long as nobody knows.
        """
        ...

    def authenticate(self, text: str) -> Holder:
        """Return the holder of a key as written, or raise `UnauthenticatedError`."""
        ...


class Anybody:
    """The holder of no key, while none is needed."""

    principal = OPEN_PRINCIPAL
    limit = None


ANYBODY = Anybody()


class Authentication:
    """Turns what a request shows into the holder of a key."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._local_hosts: set[bytes] = set()

    def holder(self, headers: Headers, needed: Scope) -> Holder:
        """Return who asks, if the key may be used for it."""
        if not _BROWSERS_AND_PROXIES.isdisjoint(headers):
            _check_origin(headers)
        shown = headers.get(b"authorization")
        if shown is None:
            return self._anybody(headers)
        text = shown[7:].decode("latin-1") if shown[:7] == BEARER else _key_in(shown)
        found = self._keyring.authenticate(text)
        principal = found.principal
        if needed not in principal.scopes:
            raise ForbiddenError(f"the key lacks the scope {needed}")
        if needed in SERVICE_SCOPES and principal.tenant != DEFAULT_TENANT:
            raise ForbiddenError("what concerns the whole service is not for tenants")
        return found

    def _anybody(self, headers: Headers) -> Holder:
        """Let in without a key who asks on this machine, while no key is needed."""
        if self._keyring.open_principal() is None:
            raise UnauthenticatedError(NO_KEY)
        host = headers.get(b"host", b"localhost")
        if host not in self._local_hosts:
            if not _LOOPBACK.fullmatch(host):
                raise UnauthenticatedError("without a key, ask by an address of this machine")
            if len(self._local_hosts) < LOCAL_HOSTS_MAX:
                self._local_hosts.add(host)
        return ANYBODY

    def url_holder(self, query: bytes) -> Holder | None:
        """Return the holder of a choose-only key in a query, or None where there is none."""
        shown = _URL_KEY.search(query)
        if shown is None:
            return None
        found = self._keyring.authenticate(shown[1].decode("latin-1"))
        if found.principal.scopes != URL_KEY_SCOPES:
            raise ForbiddenError("a key in the URL may have no scope but choose")
        return found


def _check_origin(headers: Headers) -> None:
    """Refuse pages of elsewhere, and, where no key is shown, whoever comes through a proxy."""
    # A browser shows a key that it remembers to whatever page makes it ask.
    if headers.get(b"sec-fetch-site") == b"cross-site":
        raise ForbiddenError("pages of elsewhere may not ask")
    if b"authorization" in headers:
        return
    origin = headers.get(b"origin")
    if origin is not None and not _LOOPBACK.fullmatch(origin.partition(b"://")[2]):
        raise UnauthenticatedError("without a key, pages of elsewhere may not ask")
    if not _PROXIES.isdisjoint(headers):
        raise UnauthenticatedError("a proxy makes the service reachable for others: make a key")


def _key_in(header: bytes) -> str:
    """Return the key in an Authorization header that is not spelt as most are."""
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip().decode("latin-1")
    if scheme.lower() == b"basic":
        return _key_of_basic(value.strip())
    raise UnauthenticatedError(NO_KEY)


def _key_of_basic(value: bytes) -> str:
    """Return the password, which is a whole key; or user and password as id and secret."""
    try:
        user, _, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise UnauthenticatedError(NO_KEY) from None
    return password if password.startswith(f"{KEY_MARK}_") else f"{KEY_MARK}_{user}_{password}"
