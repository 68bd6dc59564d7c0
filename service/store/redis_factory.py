"""Make connections to a server, to the one that Sentinels call primary, or to a cluster's node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from service.domain.redis_address import ClusterAddress, SentinelAddress, redis_address

CONNECT_SECONDS = 2.0  # Also of closing; whoever waits for a connection has a deadline anyway.
SENTINEL_SECONDS = 0.3  # One that is late is passed over; the next probe asks it last.


class ConnectionFactory(NamedTuple):
    """What makes connections, none of them connected yet, and how to let go of the rest."""

    make: Callable[[], AbstractConnection]
    close: Callable[[], Awaitable[None]]


def connection_factory(url: str) -> ConnectionFactory:
    """Return what makes connections; with Sentinels, each looks its address up as it connects."""
    address = redis_address(url)
    if isinstance(address, SentinelAddress):
        return _of_primary(address)
    if address is not None:
        raise ValueError("a cluster has nodes, each with connections of its own")
    pool = ConnectionPool.from_url(url, **_options())
    return ConnectionFactory(pool.make_connection, pool.aclose)


def node_factory(address: ClusterAddress, host: str, port: int) -> ConnectionFactory:
    """Return what makes connections to one node of a cluster."""
    pool = ConnectionPool(
        SSLConnection if address.is_tls else Connection,
        host=host,
        port=port,
        username=address.username,
        password=address.password,
        **_options(),
    )
    return ConnectionFactory(pool.make_connection, pool.aclose)


def _options() -> dict[str, Any]:
    return {
        # One timer a call, the client's own; redis-py would start two, and a task, for each.
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,  # Scripts gain nothing from RESP3, and a new connection says less.
        "driver_info": None,
    }


def _of_primary(address: SentinelAddress) -> ConnectionFactory:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs={
            "socket_timeout": SENTINEL_SECONDS,
            "socket_connect_timeout": SENTINEL_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "username": address.sentinel_username,
            "password": address.sentinel_password,
            "protocol": 2,
            "driver_info": None,
            "ssl": address.is_tls,
        },
    )
    pool = _PrimaryPool(  # type: ignore[no-untyped-call]
        address.service,
        sentinel,
        ssl=address.is_tls,
        db=address.db,
        username=address.username,
        password=address.password,
        **_options(),
    )
    return ConnectionFactory(pool.make_connection, sentinel.aclose)


class _PrimaryPool(SentinelConnectionPool):
    async def get_master_address(self) -> tuple[str, int]:
        """Ask the Sentinels; one that refuses is no better than one that is gone."""
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call,no-any-return]
        except RedisError as error:
            raise RedisConnectionError("no Sentinel knows a primary") from error
