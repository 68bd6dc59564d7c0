"""Join the services of an API process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from service.access import Keyring
from service.allocations import Allocator, ServingTables
from service.allocations.health import Health
from service.api.dependencies import Services
from service.bootstrap.keys import AllKeys, Keys
from service.bootstrap.schema import Schema
from service.bootstrap.stores import (
    RedisStores,
    SqlStores,
    allocation_stores,
    open_redis,
    open_sql,
)
from service.bootstrap.system import SystemClock, jitter, nonce
from service.bulk import Bulk
from service.decisions import Decisions
from service.domain.clock import MINUTE_MS, SECOND_MS, Clock
from service.domain.webhook import SECRET_BYTES
from service.errors import UnavailableError
from service.experiments import Experiments
from service.metrics import Metrics
from service.metrics.scrapes import Scrapes
from service.metrics.shared import SharedMetrics
from service.privacy import Erasures
from service.quality import Healths
from service.reporting.exports import Exports
from service.reporting.report import Reports
from service.reporting.service_level_book import ServiceLevelBook
from service.rewards import Rewards, Tallies
from service.settings import Settings
from service.sla import CHANGE_POLL_MS, CHOOSE_REDIS_DEADLINE_MS
from service.store.key_cache import KeyCacheFile
from service.store.memory_service_levels import MemoryServiceLevelStore
from service.store.outbox import SegmentOutbox
from service.webhooks import Webhooks
from service.worker.loop import Loop, every

SALT_BYTES = 16
FLUSH_SECONDS = 0.5
TALLIES_SECONDS = 2.0
KEYS_SECONDS = MINUTE_MS / SECOND_MS
LEVELS_SECONDS = 10.0  # How far behind what other processes answered may be known.
SCHEMA_SECONDS = 1.0
ACCESS_SECONDS = 1.0  # How long a revoked key may still open something.
LAST_WORDS_SECONDS_MAX = 1.0  # Statistics are worth no more of a stop's time.
# At the start Redis and SQL are asked at once; without them the loops go on asking.
START_SECONDS_MAX = 3.0


@dataclass(slots=True, kw_only=True)
class ApiProcess:
    """The loops of an API process, from its start to its end."""

    tables: ServingTables
    keys: AllKeys
    outbox: SegmentOutbox
    tallies: Tallies
    sql: SqlStores
    redis: RedisStores
    clock: Clock
    metrics: Metrics
    scrapes: Scrapes
    levels: ServiceLevelBook
    schema: Schema
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Load what is there, and keep it new from then on."""
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(START_SECONDS_MAX):
                await self.schema.look()
                await self.keys.load()
                await self._refresh_tables()
        self.keys.restore()
        self._tasks = [asyncio.create_task(loop.run(self._stop)) for loop in self._loops()]

    async def stop(self) -> None:
        """Close the outbox and the connections; the last requests have been answered."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self.scrapes.close()
        self.metrics.flush()
        await self.levels.close()
        self.outbox.close()
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS_MAX):
                await self.keys.keyring.flush_used()
                await self.tallies.flush()
        await self.redis.close()
        await self.sql.close()

    def _loops(self) -> list[Loop]:
        poll = CHANGE_POLL_MS / SECOND_MS
        return [
            self._loop("tables", self._refresh_tables, every(poll)),
            self._loop("schema", self.schema.look, every(SCHEMA_SECONDS)),
            self._loop("keys", self.keys.reload_signing, every(KEYS_SECONDS)),
            self._loop("access", self.keys.reload_access, every(ACCESS_SECONDS)),
            self._loop("used-keys", self.keys.keyring.flush_used, every(KEYS_SECONDS)),
            self._loop("tallies", self.tallies.flush, every(TALLIES_SECONDS)),
            self._loop("flush", self._flush, every(FLUSH_SECONDS)),
            self._loop("service-levels", self.levels.turn, every(LEVELS_SECONDS)),
        ]

    def _loop(
        self,
        name: str,
        turn: Callable[[], Awaitable[object]],
        pause: Callable[[object], float],
    ) -> Loop:
        return Loop(
            name=f"api-{name}",
            turn=turn,
            pause=pause,
            clock=self.clock,
            metrics=self.metrics,
            jitter=jitter,
        )

    async def _refresh_tables(self) -> None:
        if not self.keys.signing.are_loaded:  # Ready is who can also sign.
            await self.keys.reload_signing()
        if self.tables.is_ready:
            await self.tables.poll()
        else:
            await self.tables.load()

    async def _flush(self) -> None:
        self.metrics.flush()
        self.outbox.roll_over()


def build_api(
    settings: Settings,
    *,
    migrate: bool = False,
    is_exposed: bool = False,
    clock: Clock | None = None,
    shared: SharedMetrics | None = None,
) -> Services:
    """Return the services; nothing connects before they are started.

    Exposed is who listens where others than this machine reach it: that never goes without keys.
    """
    clock, metrics = clock or SystemClock(), Metrics()
    sql = open_sql(settings)
    redis = open_redis(settings, clock, metrics, replays_deadline_ms=CHOOSE_REDIS_DEADLINE_MS)
    process = ApiProcess(
        tables=ServingTables(allocation_stores(sql, redis), clock, metrics),
        keys=_keys(settings, sql, clock, is_exposed=is_exposed),
        outbox=SegmentOutbox(settings.outbox, clock),
        tallies=Tallies(sql.tallies, clock),
        sql=sql,
        redis=redis,
        clock=clock,
        metrics=metrics,
        scrapes=Scrapes(metrics, shared),
        levels=_levels(sql, metrics, clock),
        schema=Schema(sql.database, migrate=migrate),
    )
    _watch_pools(process)
    return _services(process, settings)


def _watch_pools(process: ApiProcess) -> None:
    pools, sql = process.metrics.pools, process.sql
    pools.watch("redis", lambda: process.redis.usage)
    pools.watch("sql", lambda: sql.database.usage)
    pools.watch("reports", lambda: sql.reports.report_usage)


def _services(process: ApiProcess, settings: Settings) -> Services:
    sql, clock, metrics, tables = process.sql, process.clock, process.metrics, process.tables
    stores, decisions = allocation_stores(sql, process.redis), _decisions(process)
    return Services(
        experiments=Experiments(
            store=sql.experiments,
            tables=tables,
            reallocate=Allocator(stores, clock, metrics, tables.version).reallocate,
            make_salt=lambda: secrets.token_bytes(SALT_BYTES),
            clock=clock,
        ),
        allocations=tables,
        reports=Reports(ledger=sql.report_ledger, tables=tables, clock=clock),
        exports=Exports(
            experiments=sql.experiments,
            ledger=sql.report_ledger,
            codec=process.keys.signing.codec,
        ),
        healths=Healths(sql.quality_states, tables),
        erasures=Erasures(store=sql.erasures, make_id=lambda: secrets.token_hex(16), clock=clock),
        webhooks=Webhooks(
            store=sql.webhooks,
            make_secret=lambda: secrets.token_bytes(SECRET_BYTES),
            private_hosts=settings.webhook_hosts,
            clock=clock,
        ),
        metrics=metrics,
        scrapes=process.scrapes,
        service_levels=process.levels,
        health=Health(
            tables,
            process.outbox,
            sql.ledger,
            are_keys_loaded=lambda: process.keys.keyring.is_loaded,
            is_schema_behind=lambda: process.schema.is_behind,
        ),
        clock=clock,
        keyring=process.keys.keyring,
        acts=sql.acts,
        start=process.start,
        stop=process.stop,
        decisions=decisions,
        rewards=_rewards(process),
        bulk=Bulk(decisions),
    )


def _keys(settings: Settings, sql: SqlStores, clock: Clock, *, is_exposed: bool) -> AllKeys:
    keyring = Keyring(sql.api_keys, clock, is_exposed=is_exposed, processes=settings.api_processes)
    return AllKeys(
        Keys(sql.signing_keys, clock), keyring, KeyCacheFile(settings.outbox, settings.database)
    )


def _levels(sql: SqlStores, metrics: Metrics, clock: Clock) -> ServiceLevelBook:
    metrics.service_levels.promise()  # Series from the start.
    return ServiceLevelBook(
        metrics=metrics.service_levels,
        store=sql.service_levels,
        own=MemoryServiceLevelStore(),
        clock=clock,
        writer=secrets.token_hex(8),
    )


def _decisions(process: ApiProcess) -> Decisions:
    return Decisions(
        tables=process.tables,
        replays=process.redis.replays,
        outbox=process.outbox,
        ledger=process.sql.ledger,
        codec=process.keys.signing.codec,
        clock=process.clock,
        nonce=nonce,
        metrics=process.metrics,
    )


def _rewards(process: ApiProcess) -> Rewards:
    process.metrics.circuits.watch("ledger-rewards")  # A series from the start.
    return Rewards(
        tables=process.tables,
        ledger=process.sql.ledger,
        outbox=process.outbox,
        codec=process.keys.signing.codec,
        clock=process.clock,
        metrics=process.metrics,
        tallies=process.tallies,
    )
