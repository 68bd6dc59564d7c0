"""Who serves what is learned from whoever answers, and a node that is cut off is not believed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.errors import RedisUnavailableError
from service.store.redis_topology import SLOTS, Node, Topology

A, B, C = Node("a", 1), Node("b", 2), Node("c", 3)
OK, FAIL = b"cluster_state:ok\r\n", b"cluster_state:fail\r\n"


@dataclass
class Nodes:
    """What each node says; one that says nothing is gone."""

    says: dict[Node, list[Any]] = field(default_factory=dict)
    asked: list[Node] = field(default_factory=list)
    hang: bool = False

    async def ask(self, node: Node) -> list[Any]:
        """Say what it says, after noting who was asked."""
        self.asked.append(node)
        if self.hang:
            await asyncio.Event().wait()
        if node not in self.says:
            raise RedisUnavailableError("gone")
        return self.says[node]


def served_by(*nodes: tuple[bytes | None, int], state: bytes = OK) -> list[Any]:
    """Return what a node says when each of these has an equal share."""
    size = SLOTS // len(nodes)
    served = [[i * size, (i + 1) * size - 1, [*node, b"id"]] for i, node in enumerate(nodes)]
    return [served, state]


def topology(nodes: Nodes) -> Topology:
    return Topology([A, B, C], nodes.ask, lambda: None)


async def renewed(found: Topology, nodes: Nodes) -> list[Node]:
    """Renew it, and tell who was asked."""
    nodes.asked.clear()
    found.renew()
    assert found._renewing is not None
    await found._renewing
    return list(nodes.asked)


async def test_the_first_seed_that_answers_tells_all_nodes() -> None:
    nodes = Nodes({B: served_by((b"a", 1), (b"b", 2))})
    found = topology(nodes)
    await found.know(1.0)

    assert nodes.asked == [A, B]
    assert found.nodes == (A, B)
    assert (found.owner(0), found.owner(SLOTS - 1)) == (A, B)


@pytest.mark.parametrize("host", [None, b"", b"?"])
async def test_a_node_without_a_host_is_where_the_one_asked_is(host: bytes | None) -> None:
    found = topology(Nodes({A: served_by((host, 7))}))
    await found.know(1.0)

    assert found.owner(5) == Node("a", 7)


async def test_a_node_that_is_cut_off_is_asked_and_not_believed() -> None:
    both = served_by((b"a", 1), (b"b", 2))
    nodes = Nodes({A: both, B: both})
    found = topology(nodes)
    await found.know(1.0)
    nodes.says = {A: served_by((b"a", 1), state=FAIL), B: served_by((b"b", 2))}
    asked = [await renewed(found, nodes) for _ in range(2)]

    assert asked == [[A, B], [B]]
    assert found.nodes == (B,)


async def test_each_asking_begins_with_another_node() -> None:
    both = served_by((b"a", 1), (b"b", 2))
    nodes = Nodes({A: both, B: both})
    found = topology(nodes)
    await found.know(1.0)

    assert [await renewed(found, nodes) for _ in range(2)] == [[A], [B]]


async def test_once_nobody_has_told_it_nobody_waits_any_more() -> None:
    nodes = Nodes()
    found = topology(nodes)
    with pytest.raises(RedisUnavailableError):
        await found.know(1.0)
    nodes.hang = True
    with pytest.raises(RedisUnavailableError):
        await asyncio.wait_for(found.know(60.0), 10.0)
    await found.close()


async def test_a_slot_that_moved_is_known_at_once() -> None:
    nodes = Nodes({A: served_by((b"a", 1))})
    found = topology(nodes)
    await found.know(1.0)
    found.moved(9, C)
    known = found.owner(9)
    await found.close()

    assert (known, found.owner(10)) == (C, A)
