"""The stores kept in SQL, opened over memory, SQLite or PostgreSQL, and records to put in them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from service.domain.allocation import Allocation, allocation_of
from service.domain.clock import HOUR_MS
from service.domain.decision import Decision, Source, decision_key
from service.domain.experiment import Experiment, Variant
from service.domain.reward import Reward, RewardStatus
from service.store.access_ports import ActStore, ApiKeyStore, SigningKeyStore
from service.store.memory_access import MemoryActStore, MemoryApiKeyStore
from service.store.memory_ledger import MemoryLedger
from service.store.memory_privacy import MemoryErasureStore, MemoryRetentionStore
from service.store.memory_quality import (
    MemoryQualityEvidence,
    MemoryQualityStates,
    MemoryTallyStore,
)
from service.store.memory_split import MemorySplitStore
from service.store.memory_sql import (
    MemoryAllocationStore,
    MemoryExperimentStore,
    MemoryLeaseStore,
    MemorySigningKeyStore,
    MemorySnapshotStore,
)
from service.store.memory_webhooks import MemoryWebhookStore
from service.store.ports import (
    AllocationStore,
    ExperimentStore,
    LeaseStore,
    Ledger,
    SnapshotStore,
)
from service.store.privacy_ports import ErasureStore, RetentionStore
from service.store.quality_ports import QualityEvidence, QualityStates, TallyStore
from service.store.split_ports import SplitStore
from service.store.sql_acts import SqlActStore
from service.store.sql_allocations import SqlAllocationStore
from service.store.sql_api_keys import SqlApiKeyStore
from service.store.sql_database import SqlDatabase
from service.store.sql_experiments import SqlExperimentStore
from service.store.sql_leases import SqlLeaseStore
from service.store.sql_ledger import SqlLedger
from service.store.sql_privacy import SqlErasureStore, SqlRetentionStore
from service.store.sql_quality import SqlQualityEvidence, SqlQualityStates
from service.store.sql_signing_keys import SqlSigningKeyStore
from service.store.sql_snapshots import SqlSnapshotStore
from service.store.sql_split import SqlSplitStore
from service.store.sql_tallies import SqlTallyStore
from service.store.sql_webhooks import SqlWebhookStore
from service.store.webhook_ports import WebhookStore

START_MS = 500_000 * HOUR_MS
BACKENDS = [
    pytest.param("memory"),
    pytest.param("sqlite", marks=pytest.mark.integration),
    pytest.param("postgresql", marks=pytest.mark.integration),
]


@dataclass(frozen=True)
class Stores:
    """All stores of one place."""

    ledger: Ledger
    experiments: ExperimentStore
    allocations: AllocationStore
    snapshots: SnapshotStore
    leases: LeaseStore
    signing_keys: SigningKeyStore
    acts: ActStore
    api_keys: ApiKeyStore
    erasures: ErasureStore
    retention: RetentionStore
    tallies: TallyStore
    quality_states: QualityStates
    quality_evidence: QualityEvidence
    webhooks: WebhookStore
    splits: SplitStore


@dataclass(frozen=True)
class Backend:
    """Two processes' views of the same place; memory has but one."""

    stores: Stores
    twin: Stores


class SteadyClock:
    """A clock for leases in memory, which real time must expire as it does in SQL."""

    def now_ms(self) -> int:
        """Return milliseconds that go forward."""
        return time.monotonic_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return the same."""
        return self.now_ms()


def memory_stores() -> Stores:
    acts, ledger, tallies = MemoryActStore(), MemoryLedger(), MemoryTallyStore()
    allocations = MemoryAllocationStore()
    return Stores(
        ledger,
        MemoryExperimentStore(),
        allocations,
        MemorySnapshotStore(),
        MemoryLeaseStore(SteadyClock()),
        MemorySigningKeyStore(SteadyClock(), acts),
        acts,
        MemoryApiKeyStore(acts),
        MemoryErasureStore(ledger, acts),
        MemoryRetentionStore(ledger),
        tallies,
        MemoryQualityStates(),
        MemoryQualityEvidence(ledger, tallies),
        MemoryWebhookStore(acts),
        MemorySplitStore(ledger, allocations),
    )


def sql_stores(database: SqlDatabase) -> Stores:
    return Stores(
        SqlLedger(database),
        SqlExperimentStore(database),
        SqlAllocationStore(database),
        SqlSnapshotStore(database),
        SqlLeaseStore(database),
        SqlSigningKeyStore(database),
        SqlActStore(database),
        SqlApiKeyStore(database),
        SqlErasureStore(database),
        SqlRetentionStore(database),
        SqlTallyStore(database),
        SqlQualityStates(database),
        SqlQualityEvidence(database),
        SqlWebhookStore(database),
        SqlSplitStore(database),
    )


def url_of(kind: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """Return the URL of an empty database of a kind."""
    if kind == "sqlite":
        return f"sqlite:///{directory}/ledger.db"
    url: str = request.getfixturevalue("fresh_postgres_url")
    return url


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = 20.0) -> AsyncIterator[SqlDatabase]:
    """Open a database, migrated, and close it afterwards; patient, as test machines are busy."""
    database = SqlDatabase(url, timeout_seconds=timeout_seconds)
    try:
        await database.migrate()
        yield database
    finally:
        await database.dispose()


@asynccontextmanager
async def opened_backend(url: str | None) -> AsyncIterator[Backend]:
    """Open the stores of a database, or of memory when there is none."""
    if url is None:
        stores = memory_stores()
        yield Backend(stores, stores)
        return
    async with opened(url) as database, opened(url) as twin:
        yield Backend(sql_stores(database), sql_stores(twin))


def decision(unit: int, *, experiment: int = 7, variant: int = 0, hours: int = 0) -> Decision:
    name = f"unit-{unit}"
    return Decision(
        key=decision_key(1, experiment, name, "spring"),
        tenant=1,
        experiment=experiment,
        variant=variant,
        propensity=0.25,
        source=int(Source.policy),
        holdout=unit % 2 == 0,
        version=12,
        key_id=1,
        decided_at_ms=START_MS + hours * HOUR_MS + unit,
        unit=name,
        occasion="spring",
        eligible=(0, 2) if unit % 3 == 0 else None,
    )


def reward(of: Decision, *, event: str = "conversion", micros: int = 1_000_000) -> Reward:
    return Reward(
        key=of.key,
        event=event,
        event_id="",
        tenant=of.tenant,
        experiment=of.experiment,
        variant=of.variant,
        decided_at_ms=of.decided_at_ms,
        value_micros=micros,
        status=int(RewardStatus.accepted),
        converts=True,
        occurred_at_ms=of.decided_at_ms + 90_000,
        received_at_ms=of.decided_at_ms + 91_000,
    )


def experiment(name: str = "spring", *, tenant: int = 1) -> Experiment:
    return Experiment(
        tenant=tenant,
        number=0,
        id=name,
        revision=1,
        salt=b"\x00\xff" * 8,
        variants=(
            Variant("control", {"subject": "Hello", "nested": {"n": [1, 2.5, None]}}, True),
            Variant("ten-off", {"subject": "Größe \N{PARTY POPPER}"}),
        ),
        created_at_ms=START_MS,
        updated_at_ms=START_MS,
    )


def revised(before: Experiment, **fields: object) -> Experiment:
    later = {"revision": before.revision + 1, "updated_at_ms": before.updated_at_ms + 1_000}
    return msgspec.structs.replace(before, **{**later, **fields})


def allocation(of: Experiment, version: int, reason: str = "created") -> Allocation:
    return allocation_of(of, version, (2**31, 2**31), START_MS + version, reason)
