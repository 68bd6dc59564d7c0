"""On a real cluster: slots move under load, and a node that is gone spoils only what it keeps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cache

import pytest
from redis.asyncio.connection import Connection, SSLConnection
from redis.crc import key_slot

from service.domain.redis_address import ClusterAddress, redis_address
from service.errors import RedisUnavailableError
from service.store.records import UNREACHED
from service.store.redis_allocations import RedisAllocations
from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import script
from service.store.redis_factory import node_factory
from service.store.redis_marks import ClusterMarks
from service.store.redis_replays import TAGS, RedisReplays
from tests.clusters import Cluster, Member
from tests.contract.test_published_allocations_contract import a_publication, an_experiment
from tests.store_records import NOW_MS, HandClock

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("cluster")]

HASTY_MS, PATIENT_MS = 400.0, 5_000.0
FIRST, LATER = b"\1" * 20, b"\2" * 20
CHANGES = key_slot(b"{changes}")


@pytest.fixture(params=["redis", "valkey"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    cluster: Cluster = request.getfixturevalue(f"{request.param}_cluster")
    cluster.wait_until_agreed()
    cluster.flush()
    return cluster


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[RedisCluster]:
    client = client_of(cluster.url)
    yield client
    await client.close()


@pytest.fixture
async def hasty(cluster: Cluster) -> AsyncIterator[RedisReplays]:
    """Give a memory that has been asked before: that makes its names, and finds the nodes."""
    client = client_of(cluster.url, HASTY_MS)
    replays = RedisReplays(client, HandClock(), by_tag=True)
    with suppress(RedisUnavailableError):
        await remember(replays, keys_of(100), FIRST)
    yield replays
    await client.close()


def client_of(url: str, deadline_ms: float = PATIENT_MS) -> RedisCluster:
    address = redis_address(url)
    assert isinstance(address, ClusterAddress)
    return RedisCluster(address, deadline_ms=deadline_ms)


@cache
def slot_of(key: bytes) -> int:
    return key_slot(b"{%x}" % (key[0] >> 4))


def keys_of(count: int) -> list[bytes]:
    return [os.urandom(16) for _ in range(count)]


async def remember(replays: RedisReplays, keys: list[bytes], value: bytes) -> list[bytes | None]:
    return await replays.remember(keys, [value] * len(keys), NOW_MS)


def another(cluster: Cluster, than: Member) -> Member:
    return next(each for each in cluster.primaries if each is not than)


def move_some(cluster: Cluster) -> None:
    """Move slots one after the other: nodes that send to one another at once wait for ever."""
    for slot in (key_slot(b"{%b}" % tag) for tag in TAGS[:6]):
        cluster.move(slot, another(cluster, than=cluster.owner(slot)))


async def test_moving_slots_loses_nothing_and_never_answers_twice(
    cluster: Cluster, client: RedisCluster
) -> None:
    replays = RedisReplays(client, HandClock(), by_tag=True)
    keys = keys_of(4_000)
    for start in range(0, len(keys), 500):
        await remember(replays, keys[start : start + 500], FIRST)
    epochs = ClusterMarks(client)
    await epochs.begin("one")
    told: set[bytes | None] = set()
    moving = asyncio.create_task(asyncio.to_thread(move_some, cluster))
    while not moving.done():
        with suppress(RedisUnavailableError):
            told |= set(await remember(replays, keys[:500], LATER))
        await asyncio.sleep(0.002)
    await moving

    assert told <= {FIRST, UNREACHED}
    assert FIRST in told
    assert set(await remember(replays, keys[500:1_000], LATER)) == {FIRST}
    assert await epochs.epoch() == "one"


async def test_a_key_that_has_gone_ahead_of_its_slot_is_read_and_written_where_it_is(
    cluster: Cluster, client: RedisCluster
) -> None:
    published = RedisAllocations(client, ClusterMarks(client))
    await published.begin_epoch("one")
    experiment = an_experiment()
    publication = a_publication(experiment, 1)
    await published.publish(publication, experiment)
    number = key_slot(b"{%d}" % experiment.number)
    ahead = {}
    for slot in (number, CHANGES):
        source = cluster.owner(slot)
        to = ahead[slot] = another(cluster, than=source)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        with source.client() as server:
            keys = server.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
            server.migrate("127.0.0.1", to.port, keys, 0, 5_000)
        to.command("SCRIPT", "FLUSH")  # What is not known there is loaded, behind its own ASKING.

    assert await published.fetch(experiment.number) == publication
    assert await published.versions([experiment.number, 99]) == {experiment.number: 1}
    assert (await published.changes("one", 0)).experiments == (experiment.number,)
    for slot, to in ahead.items():
        for member in (to, *cluster.primaries):
            member.command("CLUSTER", "SETSLOT", slot, "NODE", to.id)


async def test_one_node_that_hangs_spoils_only_what_it_keeps(
    cluster: Cluster, client: RedisCluster, hasty: RedisReplays
) -> None:
    keys = keys_of(500)
    await remember(RedisReplays(client, HandClock(), by_tag=True), keys, FIRST)
    hung = cluster.owner(slot_of(keys[0]))
    slots = {slot for slot in set(map(slot_of, keys)) if cluster.owner(slot) is hung}
    its = {i for i, key in enumerate(keys) if slot_of(key) in slots}
    with hung.paused():
        told = [await remember(hasty, keys, LATER) for _ in range(4)]

    assert 0 < len(its) < len(keys)
    for answers in told:
        assert {i for i, answer in enumerate(answers) if answer == UNREACHED} == its
        assert set(answers) == {FIRST, UNREACHED}


async def test_only_keys_of_a_node_that_hangs_are_refused_as_a_whole(
    cluster: Cluster, hasty: RedisReplays
) -> None:
    keys = keys_of(1)
    with cluster.owner(slot_of(keys[0])).paused(), pytest.raises(RedisUnavailableError):
        await remember(hasty, keys, LATER)


async def test_a_memory_of_which_one_server_lost_its_part_has_no_epoch(
    cluster: Cluster, client: RedisCluster
) -> None:
    epochs = ClusterMarks(client)
    for lost in cluster.primaries:
        await epochs.begin("one")
        before = await epochs.epoch()
        lost.command("FLUSHALL")

        assert before == "one"
        assert await epochs.epoch() == ""
        assert not await epochs.begin("two", after="one")


async def test_every_node_is_entered_with_the_user_of_the_address(cluster: Cluster) -> None:
    for member in cluster.members:
        member.command("ACL", "SETUSER", "app", "on", ">p@ss", "~pb:*", "+@all")
    client = client_of(cluster.url.replace("://", "://app:p%40ss@"))
    await client.each(script("server"))
    nodes = [client._client(node) for node in client._topology.nodes]
    users = [await node.commands([(b"ACL", b"WHOAMI")]) for node in nodes]
    await client.close()

    assert users == [[b"app"]] * 3


@pytest.mark.parametrize(("is_tls", "kind"), [(False, Connection), (True, SSLConnection)])
def test_nodes_are_spoken_to_in_tls_where_the_address_says_so(
    is_tls: bool, kind: type[object]
) -> None:
    address = ClusterAddress((("a", 1),), is_tls=is_tls)

    assert type(node_factory(address, "a", 1).make()) is kind
