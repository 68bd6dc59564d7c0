"""Read REDIS_URL: one server, the Sentinels that know which one, or the nodes of a cluster."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

SERVER_SCHEMES = frozenset({"redis", "rediss", "unix"})
SENTINEL_SCHEMES = frozenset({"redis+sentinel", "rediss+sentinel"})
CLUSTER_SCHEMES = frozenset({"redis+cluster", "rediss+cluster"})
SERVER_PORT = 6_379
SENTINEL_PORT = 26_379
_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_SENTINEL_FORM = "redis+sentinel://[user:password@]host:port,host:port/service-name[/db]"
_CLUSTER_FORM = "redis+cluster://[user:password@]host:port,host:port"


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


class ClusterAddress(NamedTuple):
    """Where some nodes of a cluster are, which know the others, and how to enter all of them."""

    nodes: tuple[tuple[str, int], ...]
    is_tls: bool = False
    username: str | None = None
    password: str | None = None


RedisAddress: TypeAlias = SentinelAddress | ClusterAddress


def redis_address(url: str) -> RedisAddress | None:
    """Return the Sentinels or the nodes that a URL names, None when it names a server.

    Raises `ValueError` for what is none of these. The message never holds a part of the URL,
    which may have a password in it.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in SERVER_SCHEMES and "://" in url:
        _check_server(url)
        return None
    if scheme in SENTINEL_SCHEMES:
        form, what, parsed = _SENTINEL_FORM, "a Sentinel address", _sentinels
    elif scheme in CLUSTER_SCHEMES:
        form, what, parsed = _CLUSTER_FORM, "a cluster's address", _nodes
    else:
        raise ValueError(
            "REDIS_URL must start with redis://, rediss:// or unix://,"
            f" or be {_SENTINEL_FORM} or {_CLUSTER_FORM}"
        )
    try:
        return parsed(urlsplit(url))
    except ValueError:
        # Not the cause either: what it quotes may be the password.
        raise ValueError(f"REDIS_URL is not {what}: write {form}") from None


def _check_server(url: str) -> None:
    try:
        urlsplit(url).port  # noqa: B018  Reading it is what raises.
    except ValueError:
        raise ValueError(
            "REDIS_URL is not an address: in a password, write / as %2F, # as %23, ? as %3F"
        ) from None


def _sentinels(parts: SplitResult) -> RedisAddress:
    username, password, hosts = _entry(parts)
    service, _, db = parts.path.lstrip("/").partition("/")
    options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    if not service or not options.keys() <= _OPTIONS:
        raise ValueError
    return SentinelAddress(
        tuple(_host_and_port(each, SENTINEL_PORT) for each in hosts),
        unquote(service),
        int(db or 0),
        _is_tls(parts),
        username,
        password,
        *(options.get(name, [None])[0] for name in ("sentinel_username", "sentinel_password")),
    )


def _nodes(parts: SplitResult) -> RedisAddress:
    username, password, hosts = _entry(parts)
    if parts.path not in ("", "/", "/0") or parts.query:  # A cluster has one database.
        raise ValueError
    nodes = tuple(_host_and_port(each, SERVER_PORT) for each in hosts)
    return ClusterAddress(nodes, _is_tls(parts), username, password)


def _entry(parts: SplitResult) -> tuple[str | None, str | None, list[str]]:
    """Return user, password and the hosts."""
    entry, _, hosts = parts.netloc.rpartition("@")
    username, _, password = entry.partition(":")
    return unquote(username) or None, unquote(password) or None, hosts.split(",")


def _is_tls(parts: SplitResult) -> bool:
    return parts.scheme.lower().startswith("rediss")


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or "@" in text:
        raise ValueError
    return parts.hostname, parts.port or port
