"""The worker's parts together: it learns, takes snapshots, recounts, and ends in order."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.decision import Source, replay_of
from service.errors import LedgerUnavailableError
from service.metrics.page import PageFile
from service.privacy import Eraser, Quarantines, Retention
from service.store.memory_access import MemoryActStore
from service.store.memory_privacy import (
    MemoryErasureStore,
    MemoryQuarantine,
    MemoryRetentionStore,
)
from service.store.memory_redis import MemoryOutbox, MemoryReplays
from service.store.memory_sql import MemoryLeaseStore, MemorySnapshotStore
from service.store.memory_webhooks import MemoryWebhookStore
from service.store.records import (
    Chunk,
    RecountDifference,
    Segment,
)
from service.webhooks import Deliverer
from service.worker.audit import Audit
from service.worker.drain import Drain
from service.worker.lease import Lease
from service.worker.page import LearningPage
from service.worker.restore import Restore
from service.worker.snapshots import Snapshots
from service.worker.worker import Intervals, Worker
from service.worker.write_back import WriteBack
from tests.quality_rig import a_watch
from tests.receivers import Receiver
from tests.worker_rig import FailingOnce, Rig


class WholeWorker:
    """A worker over memory stores."""

    def __init__(self, directory: Path) -> None:
        self.page = PageFile(directory, "me")
        self.rig = Rig()
        self.outbox = MemoryOutbox()
        self.leases = MemoryLeaseStore(self.rig.clock)
        self.failures_to_prepare = 0
        self.is_closed = False
        self.replays = MemoryReplays()
        rig = self.rig
        self.write_back = WriteBack(self.replays, rig.ledger, rig.published, rig.clock, rig.metrics)

    async def prepare(self) -> None:
        """Fail as often as it is told to."""
        if self.failures_to_prepare:
            self.failures_to_prepare -= 1
            raise LedgerUnavailableError("SQL starts late")

    async def close(self) -> None:
        """Note it."""
        self.is_closed = True

    def worker(self) -> Worker:
        """Make the worker."""
        rig = self.rig
        allocator = rig.allocator()
        schedule = rig.schedule(allocator)
        replays = self.replays
        erasures = MemoryErasureStore(rig.ledger, MemoryActStore())
        quarantine = MemoryQuarantine()
        lease = Lease(self.leases, "allocator", "me")
        return Worker(
            drain=Drain(
                self.outbox,
                rig.ledger,
                rig.clock,
                rig.metrics,
                committed=self.write_back.note,
            ),
            write_back=self.write_back,
            schedule=schedule,
            restore=Restore(
                schedule.refresh, rig.stores, replays, rig.clock, rig.metrics, lambda: "epoch"
            ),
            snapshots=Snapshots(MemorySnapshotStore(), rig.ledger, allocator, rig.clock),
            audit=Audit(rig.ledger, rig.metrics),
            eraser=Eraser(erasures, self.outbox, quarantine, rig.clock, rig.metrics),
            retention=Retention(MemoryRetentionStore(rig.ledger), rig.clock, rig.metrics, None),
            quarantines=Quarantines(erasures, quarantine, rig.clock, None),
            webhooks=Deliverer(
                MemoryWebhookStore(MemoryActStore()), Receiver(), rig.clock, rig.metrics
            ),
            quality=a_watch(rig),
            page=LearningPage(self.page, (), lambda: lease.is_held, rig.clock),
            lease=lease,
            intervals=Intervals(audit_first_seconds=0.0),
            clock=rig.clock,
            metrics=rig.metrics,
            jitter=lambda: 0.0,
            prepare=self.prepare,
            close=self.close,
        )

    def sample(self, name: str, **labels: str) -> float | None:
        """Return a metric's value, None before it has one."""
        return self.rig.metrics.registry.get_sample_value(f"promobandit_{name}", labels)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the running worker brings about."""
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110  Its loops tell nobody when they turn.
                await asyncio.sleep(0.005)

    async def until_turned(self, loop: str) -> None:
        """Wait for a turn of a loop that begins from now on, or is under way."""
        self.rig.clock.at_ms += 1
        now = self.rig.clock.at_ms / 1_000
        await self.until(lambda: self.sample("loop_success_timestamp_seconds", loop=loop) == now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it, and stop it at the end."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.worker().run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)


@pytest.fixture
def whole(tmp_path: Path) -> WholeWorker:
    return WholeWorker(tmp_path)


async def test_a_running_worker_drains_allocates_restores_and_audits(whole: WholeWorker) -> None:
    experiment = await whole.rig.create()
    whole.failures_to_prepare = 1
    async with whole.running():
        whole.outbox.append([whole.rig.decision(experiment, 0) for _ in range(9)])
        await whole.until(lambda: whole.sample("drained_records_total", kind="decision") == 9)
        await whole.until(lambda: whole.sample("allocations_written_total") != 0)
        await whole.until(lambda: whole.sample("audit_runs_total") != 0)
        await whole.until(lambda: whole.sample("restore_runs_total") != 0)
        await whole.until(lambda: b"learning_page_timestamp_seconds" in whole.page.read())

    assert await whole.rig.head_version(experiment) >= 1
    assert await whole.rig.published.epoch() == "epoch"
    assert whole.sample("audit_difference") == 0
    assert whole.sample("loop_failures_total", loop="prepare") == 1


async def test_a_stopped_worker_has_drained_and_given_its_lease_back(whole: WholeWorker) -> None:
    experiment = await whole.rig.create()
    async with whole.running():
        await whole.until_turned("drain")
        whole.outbox.append([whole.rig.decision(experiment, 0) for _ in range(2_500)])

    change = await whole.rig.ledger.evidence(experiment.number)
    assert sum(bucket.pulls for bucket in change.buckets) == 2_500
    assert whole.is_closed
    assert whole.page.read() == b""
    assert await whole.leases.acquire("allocator", "another", 10)


async def test_a_worker_that_ends_tries_again_when_sql_fails_once(whole: WholeWorker) -> None:
    experiment = await whole.rig.create()
    whole.rig.ledger = FailingOnce()
    whole.outbox.append([whole.rig.decision(experiment, 0)])

    await whole.worker().drain_all()

    assert (await whole.rig.ledger.evidence(experiment.number)).revision == 1


async def test_a_worker_that_ends_leaves_the_rest_once_its_time_is_over(
    whole: WholeWorker,
) -> None:
    experiment = await whole.rig.create()
    whole.outbox.append([whole.rig.decision(experiment, 0)])
    hurried = dataclasses.replace(whole.worker(), intervals=Intervals(last_drain_seconds=0.0))

    await hurried.drain_all()

    assert (await whole.rig.ledger.evidence(experiment.number)).revision == 0
    await whole.worker().drain_all()
    assert (await whole.rig.ledger.evidence(experiment.number)).revision == 1


async def test_a_worker_that_ends_tells_redis_what_it_drained_last(whole: WholeWorker) -> None:
    decision = replace(whole.rig.decision(await whole.rig.create(), 0), source=int(Source.fallback))
    whole.outbox.append([decision])

    await whole.worker().drain_all()

    (generation,) = whole.replays.generations.values()
    assert generation == {decision.key: replay_of(decision)}


class BusyOutbox(MemoryOutbox):
    """An outbox that another process writes to whenever it is read."""

    reads = 0

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Read after somebody has written."""
        self.reads += 1
        self.append([replace(self.records[0], key=self.reads.to_bytes(16, "big"))])
        return super().read(segment, offset, count)


async def test_a_worker_that_ends_waits_for_nobody_who_goes_on_writing(
    whole: WholeWorker,
) -> None:
    experiment = await whole.rig.create()
    outbox = whole.outbox = BusyOutbox()
    outbox.append([whole.rig.decision(experiment, 0) for _ in range(1_500)])

    await whole.worker().drain_all()

    assert outbox.reads == 2
    assert await whole.rig.ledger.position("memory") >= 1_500


async def test_a_worker_without_the_lease_only_drains(whole: WholeWorker) -> None:
    experiment = await whole.rig.create()
    await whole.leases.acquire("allocator", "another", 1_000)
    async with whole.running():
        whole.outbox.append([whole.rig.decision(experiment, 0)])
        await whole.until(lambda: whole.sample("drained_records_total", kind="decision") == 1)
        for _ in range(2):  # The first one may have begun before the drain.
            await whole.until_turned("allocate")

    assert (await whole.rig.ledger.evidence(experiment.number)).revision == 1
    assert await whole.rig.head_version(experiment) == 0


async def test_an_audit_exports_how_many_measures_differ() -> None:
    rig = Rig()
    experiment = await rig.create()
    await rig.send(experiment, 0, pulls=3, rewards=1)
    audit = Audit(rig.ledger, rig.metrics)
    await audit.turn()
    assert rig.metrics.registry.get_sample_value("promobandit_audit_difference") == 0

    (key,) = rig.ledger._buckets
    rig.ledger._buckets[key] = replace(rig.ledger._buckets[key], pulls=4)
    await audit.turn()

    assert rig.metrics.registry.get_sample_value("promobandit_audit_difference") == 1
    assert await rig.ledger.recount(experiment.number) == [
        RecountDifference(0, key.hour, "pulls", evidence=4, recount=3)
    ]
