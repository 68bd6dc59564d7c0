"""After Redis lost its memory, the worker makes it whole from the ledger."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis

from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.decision import Decision, replay_of
from service.domain.experiment import Experiment
from service.domain.redis_address import ClusterAddress, redis_address
from service.store.redis_allocations import RedisAllocations
from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import RedisClient
from service.store.redis_marks import ClusterMarks
from service.store.redis_replays import RedisReplays
from service.worker.restore import Restore
from tests.clusters import Cluster
from tests.servers import redis_server
from tests.worker_rig import Rig

pytestmark = pytest.mark.integration


class Interrupted(RedisReplays):
    """A replay memory that is flushed in the midst of its restoration, once."""

    flush_after = -1
    lose: Callable[[], object]

    async def restore(self, decisions: Sequence[Decision]) -> None:
        """Restore, and lose everything when it is time."""
        await super().restore(decisions)
        self.flush_after -= 1
        if self.flush_after == 0:
            self.lose()


@dataclass
class Real:
    """A rig whose Redis is real."""

    rig: Rig
    published: RedisAllocations
    replays: Interrupted
    restore: Restore

    async def decide(self, experiment: Experiment, count: int, age_ms: int = 0) -> list[Decision]:
        """Put decisions in the ledger that Redis knows nothing of."""
        self.rig.clock.at_ms -= age_ms
        decisions = [self.rig.decision(experiment, i % 4) for i in range(count)]
        self.rig.clock.at_ms += age_ms
        await self.rig.ledger.append(decisions, [])
        return decisions

    async def remembered(self, decisions: list[Decision]) -> int:
        """Count the decisions whose answer comes back when they are asked again."""
        other = [replay_of(d) for d in reversed(decisions)]
        keys = [d.key for d in decisions]
        earlier = await self.replays.remember(keys, other, self.rig.clock.now_ms())
        return sum(value == replay_of(d) for value, d in zip(earlier, decisions, strict=True))


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.xdist_group("redis")),
        pytest.param("redis_cluster", marks=pytest.mark.xdist_group("cluster")),
    ]
)
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Real]:
    if request.param == "redis_cluster":
        cluster: Cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        async with rigged_on_cluster(cluster, Rig()) as real:
            yield real
        return
    url: str = request.getfixturevalue("redis_url")
    flush(url)
    async with rigged(url, Rig()) as real:
        yield real


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as server:
        server.flushall()


@asynccontextmanager
async def rigged(url: str, rig: Rig) -> AsyncIterator[Real]:
    client = RedisClient(url, deadline_ms=2_000)
    replays = Interrupted(client, rig.clock)
    replays.lose = partial(flush, url)
    try:
        yield joined(rig, RedisAllocations(client), replays)
    finally:
        await client.close()


@asynccontextmanager
async def rigged_on_cluster(cluster: Cluster, rig: Rig) -> AsyncIterator[Real]:
    """Give a rig on a cluster; what it loses is the memory of one server."""
    address = redis_address(cluster.url)
    assert isinstance(address, ClusterAddress)
    client = RedisCluster(address, deadline_ms=2_000)
    replays = Interrupted(client, rig.clock, by_tag=True)
    replays.lose = partial(cluster.primaries[1].command, "FLUSHALL")
    try:
        yield joined(rig, RedisAllocations(client, ClusterMarks(client)), replays)
    finally:
        await client.close()


def joined(rig: Rig, published: RedisAllocations, replays: Interrupted) -> Real:
    rig.published = published  # type: ignore[assignment]
    schedule = rig.schedule()
    tokens = (f"epoch-{i}" for i in itertools.count(1))
    restore = Restore(
        schedule.refresh, rig.stores, replays, rig.clock, rig.metrics, lambda: next(tokens)
    )
    return Real(rig, published, replays, restore)


async def test_an_empty_redis_gets_allocations_configurations_and_answers(real: Real) -> None:
    experiment = await real.rig.create()
    await real.rig.allocator().reallocate(experiment, "create")
    decisions = await real.decide(experiment, 30)
    yesterday = await real.decide(experiment, 20, age_ms=DAY_MS - HOUR_MS)
    await real.published.begin_epoch("before")
    real.replays.lose()

    await real.restore.turn()

    assert await real.published.epoch() == "epoch-1"
    head = await real.rig.head_version(experiment)
    assert await real.published.versions([experiment.number]) == {experiment.number: head}
    publication = await real.published.fetch(experiment.number)
    assert publication is not None
    assert sum(publication.evidence.pulls) == 50
    assert await real.published.configuration(experiment.number, 1) == experiment
    assert await real.remembered(decisions) == 30
    assert await real.remembered(yesterday) == 20


async def test_a_whole_memory_is_left_alone(real: Real) -> None:
    await real.published.begin_epoch("whole")
    decisions = await real.decide(await real.rig.create(), 3)

    await real.restore.turn()

    assert await real.published.epoch() == "whole"
    assert await real.remembered(decisions) == 0


async def test_a_loss_during_the_restoration_starts_it_again(real: Real) -> None:
    experiment = await real.rig.create()
    await real.rig.allocator().reallocate(experiment, "create")
    decisions = await real.decide(experiment, 1_200)
    real.replays.flush_after = 2

    await real.restore.turn()
    assert await real.published.epoch() == ""

    await real.restore.turn()
    assert await real.published.epoch() == "epoch-2"
    for start in range(0, 1_200, 400):
        assert await real.remembered(decisions[start : start + 400]) == 400


async def test_a_restoration_cut_short_is_done_again_by_the_next_worker(real: Real) -> None:
    await real.published.begin_epoch("~somebody-was-killed")
    decisions = await real.decide(await real.rig.create(), 3)

    await real.restore.turn()

    assert await real.published.epoch() == "epoch-1"
    assert await real.remembered(decisions) == 3


async def test_a_server_that_came_back_with_an_old_state_is_made_whole(
    server_directory: Path,
) -> None:
    directory = server_directory / "old-state"
    directory.mkdir()
    with redis_server("redis", directory) as url:
        async with rigged(url, Rig()) as real:
            experiment = await real.rig.create()
            await real.rig.allocator().reallocate(experiment, "create")
            await real.restore.turn()
            with redis.Redis.from_url(url) as server:
                server.save()  # What follows is not in the state that it comes back with.
            await real.rig.allocator().reallocate(experiment, "again")
            lost = await real.decide(experiment, 10)
            assert await real.remembered(lost) == 0
    with redis_server("redis", directory) as url:
        async with rigged(url, real.rig) as back:
            marked = await back.published.epoch()
            before = await back.published.versions([experiment.number])
            await back.restore.turn()

            assert (marked, before) == ("", {experiment.number: 1})
            head = await back.rig.head_version(experiment)
            assert head >= 2
            assert await back.published.versions([experiment.number]) == {experiment.number: head}
            assert await back.remembered(lost) == 10


async def test_a_redis_that_is_gone_is_waited_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    rig = Rig()
    client = RedisClient(f"unix://{tmp_path_factory.mktemp('r')}/none.sock", deadline_ms=200)
    rig.published = RedisAllocations(client)  # type: ignore[assignment]
    restore = Restore(
        rig.schedule().refresh,
        rig.stores,
        RedisReplays(client, rig.clock),
        rig.clock,
        rig.metrics,
        lambda: "epoch",
    )

    await restore.turn()  # Says so in the log and tries again in a second.

    await client.close()
