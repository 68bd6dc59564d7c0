"""Post to a webhook: to addresses of the public internet only, whatever a name's DNS says.

A name is looked up once, all it leads to is checked, and the connection goes to an address that was
checked: what a second lookup would say does not matter. Nothing is read of the environment's
proxies, redirects are not followed, and of an answer only the status is read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

import httpcore
from httpcore import SOCKET_OPTION

from service.domain.webhook import is_public
from service.store.webhook_ports import DeliveryError

POST_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 20

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Resolver:
    """Asks the system for addresses, on threads of its own.

    A name whose server does not answer holds its thread for long; the event loop's threads are
    wanted for allocations.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CONNECTIONS_MAX, "webhook-dns")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host; raises `OSError` or `UnicodeError` if it has none."""
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._threads, look_up)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Begin no look-up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class WebhookPosts:
    """See `service.store.webhook_ports.Post`."""

    def __init__(self, private_hosts: Collection[str], resolve: Resolve | None = None) -> None:
        """`private_hosts` may lead into the operator's own network."""
        self._resolver = Resolver()
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=_Guarded(frozenset(private_hosts), resolve or self._resolver),
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=0,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post a body and return the status of the answer, or raise `DeliveryError`."""
        lines = [(name.encode(), text.encode()) for name, text in headers.items()]
        try:
            async with (
                asyncio.timeout(POST_SECONDS_MAX),
                self._pool.stream("POST", url, headers=lines, content=body) as response,
            ):
                return int(response.status)
        except TimeoutError:
            raise DeliveryError("no answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            raise DeliveryError("no connection, or no HTTP answer") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
        self._resolver.close()


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to what was looked up and checked; TLS still asks for the name's certificate."""

    def __init__(self, private_hosts: Collection[str], resolve: Resolve) -> None:
        self._private_hosts = private_hosts
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  The name is the library's.
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that takes the connection."""
        for address in await self._allowed(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise DeliveryError("no connection")

    async def sleep(self, seconds: float) -> None:
        """Pause; the pool asks for it between attempts."""
        await asyncio.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):  # The latter is what the encoding of names raises.
            raise DeliveryError("the host's name leads nowhere") from None
        if host not in self._private_hosts and not all(map(_is_public, addresses)):
            raise DeliveryError("the host's name leads to an address that is not public")
        return addresses


def _is_public(address: str) -> bool:
    return is_public(ip_address(address.partition("%")[0]))
