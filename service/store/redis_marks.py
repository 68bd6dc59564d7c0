"""The mark of a memory that is whole: on one server, or on every part of a cluster's."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import RedisCaller, script
from service.store.redis_replays import TAGS

# The first is told with every change; the second names the server, or servers, of the epoch.
EPOCH, SERVERS = b"pb:{changes}:epoch", b"pb:{changes}:server"


class Marks(Protocol):
    """Where an epoch is kept; see `PublishedAllocations` for what that means."""

    async def epoch(self) -> str:
        """Return the mark of this memory, '' without one or with that of another server."""
        ...

    async def begin(self, epoch: str, after: str | None = None) -> bool:
        """Mark the memory; False when `after` is given and not its mark."""
        ...


class ServerMarks:
    """One server has one mark, and names itself beside it."""

    def __init__(self, redis: RedisCaller) -> None:
        self._redis = redis
        self._script = script("epoch")

    async def epoch(self) -> str:
        """Return the mark of this memory, '' without one or with that of another server."""
        mark: bytes = await self._redis.run(self._script, [EPOCH, SERVERS])
        return mark.decode()

    async def begin(self, epoch: str, after: str | None = None) -> bool:
        """Mark the memory, on the server of now; False when `after` is given and not its mark."""
        given = [epoch.encode()] if after is None else [epoch.encode(), after.encode()]
        begun: bytes = await self._redis.run(self._script, [EPOCH, SERVERS], *given)
        return begun == given[0]


class _Seen(NamedTuple):
    """The servers of now, and the mark of all parts, empty when one has none or another."""

    servers: set[bytes]
    epoch: bytes


class ClusterMarks:
    """Every hash tag of the replay memory has the mark, and one place names all the servers.

    A tag's mark moves with its slot, so moving slots between servers of the epoch loses nothing.
    It goes with a slot that is lost. A server that is not named has just been promoted, started
    or added: it may lack the last writes, whatever marks it has.
    """

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._server = script("server")
        self._mark = script("mark")
        self._of_tags = [b"pb:{%b}:epoch" % tag for tag in TAGS]

    async def epoch(self) -> str:
        """Return the mark that all parts have, on servers that are named; else ''."""
        return (await self._look()).epoch.decode()

    async def begin(self, epoch: str, after: str | None = None) -> bool:
        """Mark all parts, on the servers of now; False when one has another mark than `after`."""
        # Asked for first: one that is replaced from here on is not among those named.
        seen = await self._look()
        mark, only_after = epoch.encode(), (after or "").encode()
        if after is not None and seen.epoch != only_after:
            return False
        begun = await asyncio.gather(
            *(self._cluster.run(self._mark, [each], mark, only_after) for each in self._of_tags)
        )
        if not all(begun):
            return False
        # The last: before it has come, the parts do not agree.
        named = b" ".join(sorted(seen.servers))
        keys = [EPOCH, SERVERS]
        return bool(await self._cluster.run(self._mark, keys, mark, only_after, named))

    async def _look(self) -> _Seen:
        """Ask every part where it is, too: the nodes that are known may be those of before."""
        (central, *tags), nodes = await asyncio.gather(
            asyncio.gather(
                self._cluster.run(self._server, [EPOCH, SERVERS]),
                *(self._cluster.run(self._server, [each]) for each in self._of_tags),
            ),
            self._cluster.each(self._server),
        )
        _, epoch, named = central
        servers = {server for server, *_ in (central, *tags, *nodes)}
        is_whole = {mark for _, mark in tags} == {epoch} and servers <= set(named.split())
        return _Seen(servers, epoch if is_whole else b"")
