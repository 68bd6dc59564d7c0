"""Read REDIS_URL: one server, or the Sentinels that know which server is the primary."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

SERVER_SCHEMES = frozenset({"redis", "rediss", "unix"})
SENTINEL_SCHEMES = frozenset({"redis+sentinel", "rediss+sentinel"})
SENTINEL_PORT = 26_379
_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_FORM = "redis+sentinel://[user:password@]host:port,host:port/service-name[/db]"


class SentinelAddress(NamedTuple):
    """Where the Sentinels are, what they call the primary, and how to enter it."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    is_tls: bool = False
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def sentinel_address(url: str) -> SentinelAddress | None:
    """Return the Sentinels that a URL names, None when it names a server.

    Raises `ValueError` for what is neither. The message never holds a part of the URL, which may
    have a password in it.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in SERVER_SCHEMES and "://" in url:
        _check_server(url)
        return None
    if scheme not in SENTINEL_SCHEMES:
        raise ValueError(f"REDIS_URL must start with redis://, rediss:// or unix://, or be {_FORM}")
    try:
        return _parsed(urlsplit(url))
    except ValueError:
        # Not the cause either: what it quotes may be the password.
        raise ValueError(f"REDIS_URL is not a Sentinel address: write {_FORM}") from None


def _check_server(url: str) -> None:
    try:
        urlsplit(url).port  # noqa: B018  Reading it is what raises.
    except ValueError:
        raise ValueError(
            "REDIS_URL is not an address: in a password, write / as %2F, # as %23, ? as %3F"
        ) from None


def _parsed(parts: SplitResult) -> SentinelAddress:
    entry, _, hosts = parts.netloc.rpartition("@")
    username, _, password = entry.partition(":")
    service, _, db = parts.path.lstrip("/").partition("/")
    options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    if not service or not options.keys() <= _OPTIONS:
        raise ValueError
    return SentinelAddress(
        tuple(_host_and_port(each) for each in hosts.split(",")),
        unquote(service),
        int(db or 0),
        parts.scheme.lower().startswith("rediss"),
        unquote(username) or None,
        unquote(password) or None,
        *(options.get(name, [None])[0] for name in ("sentinel_username", "sentinel_password")),
    )


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or "@" in text:
        raise ValueError
    return parts.hostname, parts.port or SENTINEL_PORT
