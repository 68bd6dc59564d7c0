"""Know which node of a cluster serves which hash slot, as the nodes themselves tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import structlog

from service.errors import RedisUnavailableError

SLOTS = 1 << 14
PAUSE_SECONDS = 0.1  # Between two askings: during a failover every call wants to know.

_log = structlog.get_logger(__name__)


class Node(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def named(self, host: str | None, port: int) -> Node:
        """Return the node that this one names; without a host, or with "?", it is on its own."""
        return Node(self.host if host in (None, "", "?") else str(host), port)


class Topology:
    """The primaries that serve slots, asked for again whenever a call finds that it must be.

    `ask` returns what a node says to CLUSTER SLOTS and CLUSTER INFO, or raises
    `RedisUnavailableError`; `note` is told whenever an answer was taken.
    """

    def __init__(
        self,
        seeds: Sequence[Node],
        ask: Callable[[Node], Awaitable[list[Any]]],
        note: Callable[[], None],
    ) -> None:
        self._seeds = seeds
        self._ask = ask
        self._note = note
        self._owners: list[Node | None] = [None] * SLOTS
        self._renewing: asyncio.Task[None] | None = None
        self._not_before = 0.0  # In seconds of the event loop's clock.
        self._turn = 0
        self.nodes: tuple[Node, ...] = ()
        self._is_untold = False  # Nobody told it when asked.

    def owner(self, slot: int) -> Node | None:
        """Return the node that serves a slot, as far as is known."""
        return self._owners[slot]

    def moved(self, slot: int, node: Node) -> None:
        """Take a node's word for one slot, and ask for all of them."""
        self._owners[slot] = node
        self.renew()

    def renew(self) -> None:
        """Ask the nodes, soon and in the background."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def know(self, seconds: float) -> None:
        """Wait for the first word of who serves what; once nobody has told it, no longer.

        Raises `RedisUnavailableError` when it is not known then.
        """
        if self.nodes:
            return
        self.renew()
        if self._renewing is not None and not self._is_untold:
            await asyncio.wait([self._renewing], timeout=seconds)
        if not self.nodes:
            raise RedisUnavailableError("no node tells who serves what")

    async def close(self) -> None:
        """End an asking under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._not_before - loop.time()))
        for node in self._candidates():
            if await self._is_told_by(node):
                break
        else:
            self._note_untold()
        self._not_before = loop.time() + PAUSE_SECONDS

    def _candidates(self) -> Iterator[Node]:
        """Return whom to ask, each time another one first: one of them may be cut off."""
        self._turn += 1
        known = self.nodes
        start = self._turn % len(known) if known else 0
        yield from known[start:] + known[:start]
        yield from (seed for seed in self._seeds if seed not in known)

    async def _is_told_by(self, node: Node) -> bool:
        try:
            slots, state = await self._ask(node)
        except RedisUnavailableError:
            return False
        # One that is cut off from the majority tells what was.
        if not slots or (self.nodes and b"cluster_state:ok" not in state):
            return False
        self._take(node, slots)
        return True

    def _note_untold(self) -> None:
        if not self.nodes and not self._is_untold:
            self._is_untold = True
            _log.warning("redis_cluster_unknown", remedy="is REDIS_URL the address of a cluster?")

    def _take(self, asked: Node, slots: list[Any]) -> None:
        owners: list[Node | None] = [None] * SLOTS
        nodes: dict[Node, None] = {}
        for first, last, (host, port, *_), *_replicas in slots:
            node = asked.named(host.decode() if host else None, port)
            nodes[node] = None
            owners[first : last + 1] = [node] * (last + 1 - first)
        if self.nodes and set(nodes) != set(self.nodes):
            _log.info("redis_cluster_changed", nodes=len(nodes))
        self._owners, self.nodes, self._is_untold = owners, tuple(nodes), False
        self._note()
