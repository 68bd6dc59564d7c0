"""Open the stores that settings name."""

from __future__ import annotations

from dataclasses import dataclass

from service.allocations import AllocationStores
from service.domain.clock import Clock
from service.domain.redis_address import ClusterAddress, redis_address
from service.logs import logger
from service.metrics import Metrics
from service.settings import Settings
from service.store.redis_allocations import RedisAllocations
from service.store.redis_cluster import RedisCluster
from service.store.redis_connection import RedisClient
from service.store.redis_marks import ClusterMarks
from service.store.redis_replays import RedisReplays
from service.store.sql_acts import SqlActStore
from service.store.sql_allocations import SqlAllocationStore
from service.store.sql_api_keys import SqlApiKeyStore
from service.store.sql_database import SqlDatabase
from service.store.sql_experiments import SqlExperimentStore
from service.store.sql_leases import SqlLeaseStore
from service.store.sql_ledger import SqlLedger
from service.store.sql_privacy import SqlErasureStore, SqlRetentionStore
from service.store.sql_quality import SqlQualityEvidence, SqlQualityStates
from service.store.sql_service_levels import SqlServiceLevelStore
from service.store.sql_signing_keys import SqlSigningKeyStore
from service.store.sql_snapshots import SqlSnapshotStore
from service.store.sql_split import SqlSplitStore
from service.store.sql_tallies import SqlTallyStore
from service.store.sql_webhooks import SqlWebhookStore

PATIENT_DEADLINE_MS = 1_000  # For calls that no choice waits for.

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlStores:
    """What SQL keeps."""

    database: SqlDatabase
    reports: SqlDatabase  # The same one, or a replica of it.
    ledger: SqlLedger
    report_ledger: SqlLedger
    experiments: SqlExperimentStore
    allocations: SqlAllocationStore
    snapshots: SqlSnapshotStore
    leases: SqlLeaseStore
    signing_keys: SqlSigningKeyStore
    api_keys: SqlApiKeyStore
    acts: SqlActStore
    erasures: SqlErasureStore
    retention: SqlRetentionStore
    service_levels: SqlServiceLevelStore
    tallies: SqlTallyStore
    quality_states: SqlQualityStates
    quality_evidence: SqlQualityEvidence
    splits: SqlSplitStore
    webhooks: SqlWebhookStore

    async def close(self) -> None:
        """Close the connections."""
        await self.database.dispose()
        if self.reports is not self.database:
            await self.reports.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisStores:
    """What Redis keeps, behind two clients: choices never queue behind anything else."""

    replays: RedisReplays
    published: RedisAllocations
    clients: tuple[RedisClient | RedisCluster, ...]

    @property
    def usage(self) -> tuple[int, int]:
        """How many connections are in use, and how many may be."""
        usages = [client.usage for client in self.clients]
        return sum(used for used, _ in usages), sum(limit for _, limit in usages)

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            await client.close()


def open_sql(settings: Settings) -> SqlStores:
    """Open the ledger's database; nothing connects yet."""
    database, replica = SqlDatabase(settings.database), settings.reports_database
    reports = database if replica is None else SqlDatabase(replica)
    return SqlStores(
        database=database,
        reports=reports,
        ledger=SqlLedger(database),
        report_ledger=SqlLedger(reports),
        experiments=SqlExperimentStore(database),
        allocations=SqlAllocationStore(database),
        snapshots=SqlSnapshotStore(database),
        leases=SqlLeaseStore(database),
        signing_keys=SqlSigningKeyStore(database),
        api_keys=SqlApiKeyStore(database),
        acts=SqlActStore(database),
        erasures=SqlErasureStore(database),
        retention=SqlRetentionStore(database),
        service_levels=SqlServiceLevelStore(database),
        tallies=SqlTallyStore(database),
        quality_states=SqlQualityStates(database),
        quality_evidence=SqlQualityEvidence(database),
        splits=SqlSplitStore(database),
        webhooks=SqlWebhookStore(database),
    )


def open_redis(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    *,
    replays_deadline_ms: float = PATIENT_DEADLINE_MS,
) -> RedisStores:
    """Open the Redis stores; nothing connects yet."""
    on_replays = metrics.circuits.watch("redis-replays")
    on_allocations = metrics.circuits.watch("redis-allocations")
    address = redis_address(settings.redis)
    if isinstance(address, ClusterAddress):
        cluster = RedisCluster(address, deadline_ms=replays_deadline_ms, on_circuit=on_replays)
        patient = RedisCluster(address, deadline_ms=PATIENT_DEADLINE_MS, on_circuit=on_allocations)
        return RedisStores(
            replays=RedisReplays(cluster, clock, by_tag=True),
            published=RedisAllocations(patient, ClusterMarks(patient)),
            clients=(cluster, patient),
        )
    for_replays = RedisClient(
        settings.redis, deadline_ms=replays_deadline_ms, on_circuit=on_replays
    )
    for_allocations = RedisClient(
        settings.redis, deadline_ms=PATIENT_DEADLINE_MS, on_circuit=on_allocations
    )
    return RedisStores(
        replays=RedisReplays(for_replays, clock),
        published=RedisAllocations(for_allocations),
        clients=(for_replays, for_allocations),
    )


def allocation_stores(sql: SqlStores, redis: RedisStores) -> AllocationStores:
    """Return the stores that allocations need."""
    return AllocationStores(
        experiments=sql.experiments,
        allocations=sql.allocations,
        published=redis.published,
        ledger=sql.ledger,
    )


async def prepare_schema(sql: SqlStores, *, migrate: bool) -> None:
    """Bring the schema up to date, or say that somebody must."""
    if migrate:
        await sql.database.migrate()
    elif not await sql.database.is_current():
        _log.error("schema_is_not_current", remedy="run promobandit migrate")
