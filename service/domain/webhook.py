"""Webhooks: whom the service tells of what it found out, and where it may never connect to."""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

URL_LENGTH_MAX = 2_000
WEBHOOKS_MAX = 10  # Of one tenant.
SECRET_BYTES = 32
PORT_MAX = 65_535
HOST_LENGTH_MAX = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_IPV6_EMBEDDING = 96  # Prefixes of this length hold an IPv4 address in their last 32 bits.
_NAT64 = IPv6Address("64:ff9b::")

Address = IPv4Address | IPv6Address


class Webhook(Struct, frozen=True, kw_only=True):
    """An address of a tenant's that is told; the secret signs what is sent there."""

    id: str
    tenant: int
    url: str
    secret: bytes
    created_at_ms: int
    created_by: str
    gone_at_ms: int | None = None  # Its server said 410: it is told nothing more.


class Delivery(Struct, frozen=True, kw_only=True):
    """One message for one webhook, until it is delivered or given up."""

    id: str
    tenant: int
    webhook: str
    body: str
    created_at_ms: int
    next_at_ms: int
    attempts: int = 0
    status: int | None = None  # Of the last answer; None: there was none.
    delivered_at_ms: int | None = None
    given_up_at_ms: int | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it is neither delivered nor given up."""
        return self.delivered_at_ms is None and self.given_up_at_ms is None


def message_id(*parts: object) -> str:
    """Return an id that the same parts always have, so that nothing is told twice."""
    text = "\0".join(map(str, parts))
    return f"msg_{blake2b(text.encode(), digest_size=16).hexdigest()}"


def check_url(url: str, private_hosts: Collection[str]) -> None:
    """Raise `ValueError` unless a webhook may be there, as far as its text tells.

    `private_hosts` are those of the operator's own network that may be told, by plain http too.
    """
    parts = _parts(url)
    host = parts.hostname or ""
    is_private = host in private_hosts
    if parts.scheme != "https" and not (parts.scheme == "http" and is_private):
        raise ValueError("a webhook's url must begin with https://")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("a webhook's url must have no user, password or fragment")
    if not is_private and not _is_outside(host):
        raise ValueError("a webhook's url must name a host of the public internet")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and hides none that is not."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _behind_nat64(address)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    low = 128 - _IPV6_EMBEDDING
    if int(address) >> low != int(_NAT64) >> low:
        return None
    return IPv4Address(int(address) & (2**low - 1))


def _parts(url: str) -> SplitResult:
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a webhook's url must be an https address in plain ASCII")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("a webhook's url must be an https address") from None
    return parts


def _is_outside(host: str) -> bool:
    """Whether a host's text may be one of the internet; where a name leads is told by its DNS."""
    try:
        return is_public(ip_address(host))
    except ValueError:
        # A name has a dot and a letter in its last part: what has not is one of this network,
        # or a number that some resolvers take for an address.
        last = host.rpartition(".")[2]
        is_name = len(host) <= HOST_LENGTH_MAX and _HOST.fullmatch(host) is not None
        return is_name and not last[:1].isdigit()
