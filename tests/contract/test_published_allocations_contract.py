"""What every store of published allocations promises: in memory, on Redis, Valkey, a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import redis.asyncio
from msgspec.structs import replace

from service.domain.allocation import EffectiveEvidence, Publication, allocation_of
from service.domain.experiment import Experiment, Variant
from service.domain.redis_address import ClusterAddress, redis_address
from service.store.memory_redis import MemoryAllocations
from service.store.ports import PublishedAllocations
from service.store.redis_allocations import CHANGES_MAX, RedisAllocations
from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import RedisClient
from service.store.redis_marks import ClusterMarks
from tests.clusters import Cluster
from tests.store_records import NOW_MS

ON_CLUSTER = [pytest.mark.integration, pytest.mark.xdist_group("cluster")]


class Rig(NamedTuple):
    """A store, what makes it lose its memory, and what makes it another server with the same."""

    store: PublishedAllocations
    lose: Callable[[], Awaitable[None]]
    promote: Callable[[], Awaitable[None]]


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("valkey", marks=pytest.mark.integration),
        pytest.param("redis_cluster", marks=ON_CLUSTER),
    ]
)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "memory":
        memory = MemoryAllocations()

        async def forget() -> None:
            memory.lose()

        async def fail_over() -> None:
            memory.fail_over()

        yield Rig(memory, forget, fail_over)
        return
    if request.param == "redis_cluster":
        async with rig_on_cluster(request.getfixturevalue("redis_cluster")) as rig:
            yield rig
        return
    url: str = request.getfixturevalue(f"{request.param}_url")

    async def flush() -> None:
        async with redis.asyncio.from_url(url) as server:
            await server.flushall()

    async def promote() -> None:
        async with redis.asyncio.from_url(url) as server:
            await server.replicaof("127.0.0.1", "1")  # Nobody is there, so it keeps what it has.
            await server.replicaof("NO", "ONE")

    await flush()
    client = RedisClient(url, deadline_ms=5_000)
    yield Rig(RedisAllocations(client), flush, promote)
    await client.close()


@asynccontextmanager
async def rig_on_cluster(cluster: Cluster) -> AsyncIterator[Rig]:
    async def flush() -> None:
        await asyncio.to_thread(cluster.flush)

    async def promote() -> None:
        await asyncio.to_thread(cluster.fail_over)

    await flush()
    address = redis_address(cluster.url)
    assert isinstance(address, ClusterAddress)
    client = RedisCluster(address, deadline_ms=5_000)
    yield Rig(RedisAllocations(client, ClusterMarks(client)), flush, promote)
    await client.close()


def an_experiment(number: int = 7, revision: int = 1) -> Experiment:
    variants = (
        Variant("control", {"subject": "Hello"}, is_control=True),
        Variant("ten-off", {"percent": 10}),
    )
    return Experiment(1, number, f"spring-{number}", revision, b"salt", variants)


def a_publication(experiment: Experiment, version: int, pulls: float = 0.0) -> Publication:
    allocation = allocation_of(experiment, version, (2**31, 2**31), NOW_MS, "evidence")
    return Publication(allocation, EffectiveEvidence(3, (pulls, 0.0), (0.0, 0.0)), NOW_MS)


async def publish(store: PublishedAllocations, number: int, version: int = 1) -> bool:
    experiment = an_experiment(number)
    return await store.publish(a_publication(experiment, version), experiment)


async def test_what_is_published_is_fetched_equal(rig: Rig) -> None:
    experiment = an_experiment()
    publication = a_publication(experiment, 12, pulls=1.5)
    is_newest = await rig.store.publish(publication, experiment)

    assert is_newest
    assert await rig.store.fetch(7) == publication
    assert await rig.store.configuration(7, 1) == experiment


async def test_nothing_is_fetched_of_an_unknown_experiment(rig: Rig) -> None:
    assert await rig.store.fetch(99) is None
    assert await rig.store.configuration(99, 1) is None
    assert await rig.store.versions([99]) == {}


async def test_a_version_never_goes_back(rig: Rig) -> None:
    experiment = an_experiment()
    await rig.store.publish(a_publication(experiment, 10), experiment)
    is_newest = await rig.store.publish(a_publication(experiment, 9), experiment)
    published = await rig.store.fetch(7)

    assert not is_newest
    assert published is not None
    assert published.allocation.version == 10


async def test_the_same_version_again_brings_newer_evidence(rig: Rig) -> None:
    experiment = an_experiment()
    await rig.store.publish(a_publication(experiment, 10), experiment)
    is_newest = await rig.store.publish(a_publication(experiment, 10, pulls=5.0), experiment)
    published = await rig.store.fetch(7)

    assert is_newest
    assert published is not None
    assert published.evidence.pulls == (5.0, 0.0)


@pytest.mark.parametrize(("revision", "is_taken"), [(2, False), (3, True), (2**43, True)])
async def test_evidence_of_a_version_goes_by_its_revision_whatever_a_clock_says(
    rig: Rig, revision: int, is_taken: bool
) -> None:
    experiment = an_experiment()
    standing = a_publication(experiment, 10)
    await rig.store.publish(standing, experiment)
    late = replace(
        standing,
        evidence=replace(standing.evidence, revision=revision, pulls=(9.0, 9.0)),
        published_at_ms=NOW_MS - 3_600_000,  # By a publisher's clock that stepped back.
    )
    is_newest = await rig.store.publish(late, experiment)

    assert is_newest == is_taken
    assert await rig.store.fetch(7) == (late if is_taken else standing)


async def test_a_new_version_brings_its_evidence_whatever_its_revision(rig: Rig) -> None:
    experiment = an_experiment()
    await rig.store.publish(a_publication(experiment, 10), experiment)
    first = replace(a_publication(experiment, 11), evidence=EffectiveEvidence(1, (), ()))
    await rig.store.publish(first, experiment)
    second = replace(first, evidence=EffectiveEvidence(2, (), ()))

    assert await rig.store.publish(second, experiment)
    assert await rig.store.fetch(7) == second


async def test_the_two_newest_configurations_are_kept(rig: Rig) -> None:
    for revision in (1, 2):
        experiment = an_experiment(revision=revision)
        await rig.store.publish(a_publication(experiment, revision), experiment)

    found = [await rig.store.configuration(7, revision) for revision in (1, 2)]

    assert [each.revision for each in found if each] == [1, 2]


async def test_versions_are_told_of_all_that_are_asked_for(rig: Rig) -> None:
    for number in (1, 2, 3):
        await publish(rig.store, number, version=10 + number)

    assert await rig.store.versions([3, 99, 1]) == {3: 13, 1: 11}
    assert await rig.store.versions([]) == {}


async def test_changes_since_a_cursor_are_those_published_after_it(rig: Rig) -> None:
    await rig.store.begin_epoch("one")
    await publish(rig.store, 1)
    await publish(rig.store, 2)
    first = await rig.store.changes("", 0)
    await publish(rig.store, 3)
    await publish(rig.store, 1, version=2)
    second = await rig.store.changes(first.epoch, first.cursor)
    third = await rig.store.changes(second.epoch, second.cursor)

    assert (first.epoch, first.experiments) == ("one", (1, 2))
    assert second.experiments == (3, 1)
    assert third.experiments == ()
    assert third.cursor == second.cursor


async def test_a_refused_version_is_not_announced(rig: Rig) -> None:
    await publish(rig.store, 1, version=5)
    before = await rig.store.changes("", 0)
    await publish(rig.store, 1, version=4)

    assert (await rig.store.changes(before.epoch, before.cursor)).experiments == ()


async def test_a_new_epoch_tells_everything_again(rig: Rig) -> None:
    await rig.store.begin_epoch("one")
    await publish(rig.store, 1)
    seen = await rig.store.changes("", 0)
    await rig.store.begin_epoch("two")
    again = await rig.store.changes(seen.epoch, seen.cursor)

    assert again.epoch == "two"
    assert again.experiments == (1,)


async def test_a_lost_memory_has_no_epoch(rig: Rig) -> None:
    await rig.store.begin_epoch("one")
    before = await rig.store.epoch()
    await rig.lose()

    assert before == "one"
    assert await rig.store.epoch() == ""


async def test_a_promoted_replica_has_no_epoch_until_one_begins_there(rig: Rig) -> None:
    await rig.store.begin_epoch("one")
    await publish(rig.store, 1)
    await rig.promote()
    after = await rig.store.epoch()
    await rig.store.begin_epoch("two")

    assert after == ""
    assert await rig.store.epoch() == "two"
    assert (await rig.store.changes("one", 1)).experiments == (1,)


async def test_a_cursor_from_before_a_loss_hides_nothing(rig: Rig) -> None:
    for number in range(1, 6):
        await publish(rig.store, number)
    seen = await rig.store.changes("", 0)
    await rig.lose()
    await publish(rig.store, 9)

    assert (await rig.store.changes(seen.epoch, seen.cursor)).experiments == (9,)


async def test_more_changes_than_one_call_tells_are_all_told(rig: Rig) -> None:
    count = CHANGES_MAX + 200
    for number in range(1, count + 1):
        await publish(rig.store, number)
    changes = await rig.store.changes("", 0)

    assert changes.experiments == tuple(range(1, count + 1))
    assert (await rig.store.changes(changes.epoch, changes.cursor)).experiments == ()
