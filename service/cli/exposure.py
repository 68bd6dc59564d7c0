"""Where the service may listen: without keys on the loopback only."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from service.settings import Settings


def address_of(host: str) -> str:
    """Return the address that a host's name stands for: it is checked, and then listened on."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])


def checked(address: str, settings: Settings, *, migrate: bool) -> bool:
    """Tell whether an address is exposed; raises `RuntimeError` if that is not safe.

    Nobody but this machine reaches a loopback address. On any other one whoever comes along
    could steer the traffic, unless keys are asked for; and without one nobody could do anything.
    """
    if ip_address(address).is_loopback:
        return False
    from service.bootstrap import access  # noqa: PLC0415  Brings SQL along, which takes time.

    if not asyncio.run(access.has_valid_key(settings, migrate=migrate)):
        raise RuntimeError(
            f"will not listen on {address} without an API key, for others than this machine may"
            " reach it; make one first: promobandit keys create --scope choose"
        )
    return True
