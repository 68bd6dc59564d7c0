"""Talk to a Redis Cluster: one client a node, each call to the node that serves its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from service.domain.redis_address import ClusterAddress
from service.errors import RedisUnavailableError
from service.store.redis_connection import (
    CONNECTIONS_MAX,
    Command,
    RedisClient,
    Reply,
    Script,
    ScriptCall,
)
from service.store.redis_factory import node_factory
from service.store.redis_topology import Node, Topology

HOPS_MAX = 16  # Of one call; its deadline is what usually ends it.
# Some keys of a call are on the old node of their slot and some on the new one.
TRY_AGAIN_SECONDS = 0.005

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _Hop(NamedTuple):
    """Whom to ask next; `is_asking` where the slot is only about to be theirs."""

    node: Node
    is_asking: bool = False


class RedisCluster:
    """A client of a cluster for callers who would rather go without than wait.

    Each node has a pool and a circuit of its own: what is kept on one that is down is refused at
    once, and nobody else notices. The deadline covers a whole call, redirections included.
    """

    def __init__(
        self,
        address: ClusterAddress,
        *,
        deadline_ms: float,
        connections_max: int = CONNECTIONS_MAX,
        on_circuit: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`on_circuit` is told whenever the first node's circuit opens, or the last one closes."""
        self._address = address
        self._deadline_ms = deadline_ms
        self._connections_max = connections_max
        self._on_circuit = on_circuit
        self._failing: set[Node] = set()
        self._clients: dict[Node, RedisClient] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        seeds = [Node(*each) for each in address.nodes]
        self._topology = Topology(seeds, self._ask, self._let_go)

    async def run(
        self,
        lua: Script,
        keys: Sequence[bytes],
        *arguments: bytes,
        deadline_ms: float | None = None,
    ) -> Reply:
        """Run a script whose keys share one hash tag, on the node that serves it.

        Raises `RedisUnavailableError` when that node is gone, late or refuses, and when the slot
        is on its way between two nodes for longer than the deadline.
        """

        def call(client: RedisClient, left_ms: float | None, is_asking: bool) -> Awaitable[Reply]:
            return client.run(lua, keys, *arguments, deadline_ms=left_ms, is_asking=is_asking)

        return await self._routed(key_slot(keys[0]), call, deadline_ms)

    async def run_each(
        self, lua: Script, calls: Sequence[ScriptCall], deadline_ms: float | None = None
    ) -> list[Reply]:
        """Run a script for each call, in one go for each node.

        An error stands in the place of an answer; raises only while nobody tells who serves what.
        """
        until = asyncio.get_running_loop().time() + self._left_ms(deadline_ms) / 1_000
        await self._topology.know(self._left_ms(deadline_ms) / 1_000)
        by_node: dict[Node | None, list[int]] = {}
        for i, call in enumerate(calls):
            by_node.setdefault(self._topology.owner(key_slot(call.keys[0])), []).append(i)
        shares = ([calls[i] for i in at] for at in by_node.values())
        found = await asyncio.gather(
            *(
                self._share(node, lua, share, deadline_ms, until)
                for node, share in zip(by_node, shares, strict=True)
            )
        )
        return _in_order(by_node.values(), found, len(calls))

    async def commands(self, commands: Iterable[Command]) -> list[Reply]:
        """Run commands that only read, in one go for each node; raises as `run` does."""
        asked = list(commands)
        if not asked:
            return []
        await self._topology.know(self._deadline_ms / 1_000)
        by_node: dict[Node, list[int]] = {}
        for i, command in enumerate(asked):
            by_node.setdefault(self._owner(_slot(command)), []).append(i)
        found = await asyncio.gather(
            *(self._together(node, [asked[i] for i in at]) for node, at in by_node.items())
        )
        return _in_order(by_node.values(), found, len(asked))

    async def each(self, lua: Script) -> list[Reply]:
        """Run a script without keys on every primary that serves slots."""
        await self._topology.know(self._deadline_ms / 1_000)
        self._topology.renew()
        nodes = self._topology.nodes
        return await asyncio.gather(*(self._client(node).run(lua, ()) for node in nodes))

    @property
    def usage(self) -> tuple[int, int]:
        """How many connections to all nodes are in use, and how many may be."""
        usages = [client.usage for client in self._clients.values()]
        return sum(used for used, _ in usages), sum(limit for _, limit in usages)

    async def close(self) -> None:
        """Close the connections to all nodes."""
        await self._topology.close()
        clients = (client.close() for client in self._clients.values())
        await asyncio.gather(*clients, *self._retiring, return_exceptions=True)

    async def _routed(
        self,
        slot: int,
        call: Callable[[RedisClient, float | None, bool], Awaitable[T]],
        deadline_ms: float | None = None,
    ) -> T:
        loop = asyncio.get_running_loop()
        left_ms = self._left_ms(deadline_ms)
        until = loop.time() + left_ms / 1_000
        await self._topology.know(left_ms / 1_000)
        hop = _Hop(self._owner(slot))
        for _ in range(HOPS_MAX):
            try:
                return await call(self._client(hop.node), deadline_ms, hop.is_asking)
            except RedisUnavailableError as error:
                hop = await self._after(error, hop, slot)
            deadline_ms = (until - loop.time()) * 1_000
        raise RedisUnavailableError("the keys are on their way to another node")

    def _left_ms(self, deadline_ms: float | None) -> float:
        return self._deadline_ms if deadline_ms is None else min(deadline_ms, self._deadline_ms)

    async def _share(
        self,
        node: Node | None,
        lua: Script,
        calls: list[ScriptCall],
        deadline_ms: float | None,
        until: float,
    ) -> list[Reply]:
        """Run the calls of one node; each that it refuses finds its way alone."""
        if node is None:
            self._topology.renew()
            return [RedisUnavailableError("no node serves the keys")] * len(calls)
        try:
            told = await self._client(node).run_together(lua, calls, deadline_ms)
        except RedisUnavailableError as error:
            self._topology.renew()
            return [error] * len(calls)
        refused = [i for i, answer in enumerate(told) if isinstance(answer, ResponseError)]
        if refused:
            left_ms = (until - asyncio.get_running_loop().time()) * 1_000
            again = [calls[i] for i in refused]
            runs = (self.run(lua, c.keys, *c.arguments, deadline_ms=left_ms) for c in again)
            alone = await asyncio.gather(*runs, return_exceptions=True)
            for i, answer in zip(refused, alone, strict=True):
                told[i] = answer
        return told

    async def _after(self, error: RedisUnavailableError, hop: _Hop, slot: int) -> _Hop:
        """Return where to go on after what a node said, or raise it."""
        said = error.__cause__
        if isinstance(said, MovedError):
            node = hop.node.named(said.host, said.port)
            self._topology.moved(slot, node)
            return _Hop(node)
        if isinstance(said, AskError):
            return _Hop(hop.node.named(said.host, said.port), is_asking=True)
        if isinstance(said, TryAgainError):
            await asyncio.sleep(TRY_AGAIN_SECONDS)
            return _Hop(self._owner(slot))
        self._topology.renew()
        raise error

    async def _together(self, node: Node, commands: list[Command]) -> list[Reply]:
        """Run commands on one node; where one is redirected, each finds its way alone."""
        try:
            return await self._client(node).commands(commands)
        except RedisUnavailableError as error:
            if not isinstance(error.__cause__, AskError | TryAgainError):
                self._topology.renew()
                raise
        return [await self._alone(command) for command in commands]

    async def _alone(self, command: Command) -> Reply:
        async def call(client: RedisClient, left_ms: float | None, is_asking: bool) -> Reply:
            asking: list[Command] = [(b"ASKING",)] if is_asking else []
            return (await client.commands([*asking, command], left_ms))[-1]

        return await self._routed(_slot(command), call)

    def _owner(self, slot: int) -> Node:
        node = self._topology.owner(slot)
        if node is None:
            self._topology.renew()
            raise RedisUnavailableError("no node serves the keys")
        return node

    def _client(self, node: Node) -> RedisClient:
        client = self._clients.get(node)
        if client is None:

            def note(is_failing: bool) -> None:
                self._note(node, is_failing=is_failing)

            client = self._clients[node] = RedisClient(
                node_factory(self._address, *node),
                deadline_ms=self._deadline_ms,
                connections_max=self._connections_max,
                on_circuit=note,
            )
        return client

    async def _ask(self, node: Node) -> list[Any]:
        return await self._client(node).commands([(b"CLUSTER", b"SLOTS"), (b"CLUSTER", b"INFO")])

    def _let_go(self) -> None:
        """Retire the clients of nodes that serve nothing any more; those of seeds come again."""
        for node in self._clients.keys() - set(self._topology.nodes):
            task = asyncio.create_task(self._clients.pop(node).retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
            self._note(node, is_failing=False)

    def _note(self, node: Node, *, is_failing: bool) -> None:
        if is_failing:
            _log.warning("redis_node_unavailable", host=node.host, port=node.port)
        was_failing = bool(self._failing)
        (self._failing.add if is_failing else self._failing.discard)(node)
        if bool(self._failing) != was_failing:
            self._on_circuit(not was_failing)


def _in_order(places: Iterable[list[int]], found: Iterable[list[Reply]], count: int) -> list[Reply]:
    answers: list[Reply] = [None] * count
    for at, told in zip(places, found, strict=True):
        for i, answer in zip(at, told, strict=True):
            answers[i] = answer
    return answers


def _slot(command: Command) -> int:
    key = command[1]
    return key_slot(key if isinstance(key, bytes) else b"%d" % key)
