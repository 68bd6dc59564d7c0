"""Join the worker, and what the command line asks of the stores."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial

import msgspec

from service.allocations import Allocator
from service.allocations.learning import LearningFigures
from service.allocations.schedule import AllocationSchedule
from service.allocations.traces import Traces
from service.bootstrap import keys
from service.bootstrap.quality import build_quality
from service.bootstrap.stores import allocation_stores, open_redis, open_sql, prepare_schema
from service.bootstrap.system import SystemClock, jitter
from service.domain.clock import Clock
from service.metrics import Metrics
from service.metrics.page import PageFile, Writer
from service.metrics.shared import SharedMetrics
from service.privacy import Eraser, Quarantines, Retention
from service.settings import Settings
from service.store.outbox_reader import SegmentReader
from service.store.quarantine import QuarantineFiles
from service.store.records import RecountDifference
from service.store.webhook_posts import WebhookPosts
from service.webhooks import Deliverer
from service.worker.audit import Audit, differences
from service.worker.drain import Drain
from service.worker.lease import Lease
from service.worker.page import LearningPage
from service.worker.restore import Restore
from service.worker.snapshots import Snapshots
from service.worker.worker import Intervals, Worker
from service.worker.write_back import WriteBack

LEASE_NAME = "allocator"
_ALONE = "alone"  # A worker whose metrics nobody shares.


def build_worker(
    settings: Settings,
    *,
    migrate: bool = False,
    clock: Clock | None = None,
    shared: SharedMetrics | None = None,
) -> Worker:
    """Return the worker; nothing connects before it runs."""
    clock, metrics = clock or SystemClock(), Metrics()
    sql, redis = open_sql(settings), open_redis(settings, clock, metrics)
    stores = allocation_stores(sql, redis)
    traces = Traces()
    write_back = WriteBack(redis.replays, sql.ledger, stores.published, clock, metrics)
    allocator = Allocator(stores, clock, metrics, traces.version)
    schedule = AllocationSchedule(allocator, stores, clock, metrics, traces)

    posts = WebhookPosts(settings.webhook_hosts)

    async def close() -> None:
        await posts.close()
        await redis.close()
        await sql.close()

    # Whoever has figures of each experiment adds its writer here.
    quality = build_quality(sql, clock)
    writers: Sequence[Writer] = (LearningFigures(allocator.learned, clock), *quality.writers)
    lease = Lease(sql.leases, LEASE_NAME, _token())
    reader, quarantine = SegmentReader(settings.outbox, clock), QuarantineFiles(settings.outbox)
    days = settings.retention_days
    return Worker(
        drain=Drain(reader, sql.ledger, clock, metrics, traces, write_back.note),
        write_back=write_back,
        schedule=schedule,
        restore=Restore(schedule.refresh, stores, redis.replays, clock, metrics, _token),
        snapshots=Snapshots(sql.snapshots, sql.ledger, allocator, clock),
        audit=Audit(sql.ledger, metrics),
        eraser=Eraser(sql.erasures, reader, quarantine, clock, metrics),
        retention=Retention(sql.retention, clock, metrics, days),
        quarantines=Quarantines(sql.erasures, quarantine, clock, days),
        quality=quality.watch,
        page=LearningPage(_page(settings, shared), writers, lambda: lease.is_held, clock),
        webhooks=Deliverer(sql.webhooks, posts, clock, metrics),
        lease=lease,
        intervals=_intervals(settings),
        clock=clock,
        metrics=metrics,
        jitter=jitter,
        prepare=partial(prepare_schema, sql, migrate=migrate),
        close=close,
    )


def _intervals(settings: Settings) -> Intervals:
    return Intervals(
        last_drain_seconds=settings.last_drain_seconds,
        audit_seconds=settings.audit_seconds,
        snapshot_seconds=settings.snapshot_seconds,
        quality_seconds=settings.quality_seconds,
        page_seconds=settings.learning_page_seconds,
    )


async def migrate_schema(settings: Settings) -> None:
    """Bring the schema up to date."""
    sql = open_sql(settings)
    try:
        await prepare_schema(sql, migrate=True)
    finally:
        await sql.close()


async def audit(settings: Settings) -> list[str]:
    """Recount everything; return a line for every measure that differs."""
    sql = open_sql(settings)
    try:
        return [_line(number, found) async for number, found in differences(sql.ledger)]
    finally:
        await sql.close()


async def rotate_signing_key(settings: Settings, actor: str) -> tuple[int, int]:
    """Insert the next signing key; return its id and when it becomes active."""
    sql = open_sql(settings)
    try:
        key = await keys.rotate(sql.signing_keys, actor)
    finally:
        await sql.close()
    return key.id, key.active_from_ms


def _line(number: int, found: RecountDifference) -> str:
    fields = msgspec.structs.asdict(found).items()
    return f"experiment={number} " + " ".join(f"{name}={value}" for name, value in fields)


def _page(settings: Settings, shared: SharedMetrics | None) -> PageFile:
    return PageFile(settings.metrics, _ALONE) if shared is None else shared.page


def _token() -> str:
    return secrets.token_hex(8)
