"""A Redis Cluster, two API processes and two workers: slots move, and parts are killed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import redis
from redis.crc import key_slot

from service.domain.redis_address import ClusterAddress, redis_address
from service.store.redis_cluster import RedisCluster
from service.store.redis_replays import TAGS, RedisReplays
from tests.clusters import Cluster, redis_cluster
from tests.faults.ledger import expire_leases, head
from tests.faults.memory import losing, restores, still_remembers
from tests.faults.rows_redis import fell_back_and_remembers
from tests.faults.scenario import Lab, Scenario
from tests.faults.stack import Layout, Stack
from tests.store_records import HandClock

TIMEOUT_MS = 1_000  # After which the nodes hold one of them for dead; Redis' own is 15,000.
OTHERS = 20_000  # Decisions of other experiments in the memory, so that a slot takes a while.
BATCH = 500
CHANGES = key_slot(b"{changes}")
ROUNDS = 2
TAKEN_SECONDS_MAX = 20.0


def three_primaries(stack: Stack) -> None:
    """Let the service use a cluster of three servers, none of which has a replica."""
    _use(stack, replicas=0)


def with_replicas(stack: Stack) -> None:
    """Let the service use a cluster of three servers, each with a replica."""
    _use(stack, replicas=3)


def _use(stack: Stack, replicas: int) -> None:
    made = redis_cluster(stack.directory / "c", replicas=replicas, timeout_ms=TIMEOUT_MS)
    cluster = stack.more["cluster"] = stack.use(made)
    stack.redis_url = cluster.url
    stack.redis_client = lambda: cast(redis.Redis, cluster.client())
    asyncio.run(_fill(cluster))


async def _fill(cluster: Cluster) -> None:
    address = redis_address(cluster.url)
    assert isinstance(address, ClusterAddress)
    client = RedisCluster(address, deadline_ms=5_000)
    replays = RedisReplays(client, HandClock(), by_tag=True)
    now_ms = time.time_ns() // 1_000_000
    for _ in range(OTHERS // BATCH):
        keys = [os.urandom(16) for _ in range(BATCH)]
        await replays.remember(keys, [bytes(20)] * BATCH, now_ms)
    await client.close()


@contextmanager
def resharded(lab: Lab) -> Iterator[None]:
    """Move every slot that the load uses to the next server, one after the other, and again."""
    cluster = _cluster(lab)
    lab.stack.more["restores"] = restores(lab)
    number, _ = head(lab.stack, lab.experiment)
    slots = [key_slot(b"{%b}" % tag) for tag in (*TAGS, b"changes", b"%d" % number)]
    for slot in slots * ROUNDS:
        at = cluster.primaries.index(cluster.owner(slot))
        cluster.move(slot, cluster.primaries[(at + 1) % len(cluster.primaries)])
    yield


def nothing_was_lost(lab: Lab) -> None:
    """Check that nobody got another answer, that nothing had to be restored, and who leads."""
    still_remembers(lab)
    leaders = sum(_leads(lab.stack.log(f"worker-{number}")) for number in (1, 2))
    lab.expect(leaders == 1, f"{leaders} workers took the lease")
    again = restores(lab) - lab.stack.more["restores"]
    lab.expect(again == 0, f"Redis was restored {again} times")


@contextmanager
def failed_over(lab: Lab) -> Iterator[None]:
    """Kill the primary of the change list; its replica takes over, and it comes back as one."""
    cluster = _cluster(lab)
    lost = cluster.owner(CHANGES)
    lost.kill()
    cluster.wait_for_failover(lost)
    yield
    lost.start()


@contextmanager
def replaced(lab: Lab) -> Iterator[None]:
    """Kill the primary of the change list, and put an empty server in its place."""
    cluster = _cluster(lab)
    lost = cluster.owner(CHANGES)
    lost.kill()
    yield
    cluster.replace(lost)


def only_its_keys_fell_back(lab: Lab) -> None:
    """Check that the others' keys were answered by the policy meanwhile."""
    answered = lab.answered("choose", 200)
    fell_back = lab.answered("choose", 200, "fallback")
    lab.expect(fell_back < 0.7 * answered, f"{fell_back} of {answered} fell back")
    fell_back_and_remembers(lab)


@contextmanager
def leader_killed(lab: Lab) -> Iterator[None]:
    """Kill the worker that has the lease; once that has run out, the other one takes it."""
    leader = int(not _leads(lab.stack.log("worker-1")))
    lab.stack.workers[leader].kill()
    expire_leases(lab.stack)  # As it would be some seconds later.
    survivor = lab.stack.more["survivor"] = f"worker-{2 - leader}"
    deadline = time.perf_counter() + TAKEN_SECONDS_MAX
    while not _leads(lab.stack.log(survivor)) and time.perf_counter() < deadline:
        time.sleep(0.1)
    yield
    lab.stack.workers[leader].start()


def the_other_took_over(lab: Lab) -> None:
    """Check that the worker that lives took the lease, and has it still."""
    lab.expect(_leads(lab.stack.log(lab.stack.more["survivor"])), "the other worker has no lease")
    still_remembers(lab)


def _leads(log: str) -> bool:
    return log.rfind("lease_taken") > log.rfind("lease_lost")


def _cluster(lab: Lab) -> Cluster:
    cluster: Any = lab.stack.more["cluster"]
    assert isinstance(cluster, Cluster)
    return cluster


_TWO_OF_EACH = Layout(apis=2, workers=2, own="cluster")
_PRIMARIES = Scenario(
    name="Redis Cluster: resharding under load, every slot in use moved",
    fault=resharded,
    layout=_TWO_OF_EACH,
    prepare=three_primaries,
    fault_seconds=0.0,
    reward_statuses=(200,),
    check=nothing_was_lost,
    is_quick=True,
)
ROWS = (
    _PRIMARIES,
    replace(
        _PRIMARIES,
        name="Redis Cluster: one primary killed, its replica takes over",
        fault=losing(failed_over),
        layout=replace(_TWO_OF_EACH, own="cluster with replicas"),
        prepare=with_replicas,
        check=only_its_keys_fell_back,
        is_quick=False,
    ),
    replace(
        _PRIMARIES,
        name="Redis Cluster: one primary without replica killed, replaced by an empty one",
        fault=losing(replaced),
        fault_seconds=3.0,
        check=only_its_keys_fell_back,
        is_quick=False,
    ),
    replace(
        _PRIMARIES,
        name="Redis Cluster, two API processes and two workers: the leading worker killed",
        fault=leader_killed,
        check=the_other_took_over,
    ),
)
