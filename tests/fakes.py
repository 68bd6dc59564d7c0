"""The whole application over memory stores: everything real but the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import httpx
import msgspec
from starlette.types import ASGIApp

from service.allocations import AllocationStores, Allocator, ServingTables
from service.allocations.health import Health
from service.api.app import create_app
from service.api.dependencies import Services
from service.bulk import Bulk
from service.decisions import Decisions
from service.domain.decision import Decision, Source, decision_key
from service.domain.experiment import Experiment
from service.domain.reward import MICROS, Reward, RewardStatus
from service.domain.token import TokenCodec
from service.domain.webhook import SECRET_BYTES
from service.errors import LedgerUnavailableError, RevisionConflictError
from service.experiments import Experiments
from service.metrics import Metrics
from service.metrics.scrapes import Scrapes
from service.privacy import Erasures
from service.quality import Healths
from service.reporting.exports import Exports
from service.reporting.report import Reports
from service.rewards import Rewards, Tallies
from service.store.memory_access import MemoryActStore
from service.store.memory_ledger import MemoryLedger
from service.store.memory_privacy import MemoryErasureStore
from service.store.memory_quality import MemoryQualityStates, MemoryTallyStore
from service.store.memory_redis import MemoryAllocations, MemoryOutbox, MemoryReplays
from service.store.memory_sql import MemoryAllocationStore, MemoryExperimentStore
from service.store.memory_webhooks import MemoryWebhookStore
from service.store.records import Cursor, EvidenceChange, LedgerRow
from service.webhooks import Webhooks
from tests.keys import an_open_keyring
from tests.level_books import book_of

NOW_MS = 1_795_000_000_000
KEY_ID = 1


@dataclass
class FrozenClock:
    """A clock that moves when it is told to; `skew_ms` is what somebody set it back or ahead."""

    at_ms: int = NOW_MS
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Return the time it was set to."""
        return self.at_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        """Return the time without the skew."""
        return self.at_ms


class CrowdedExperimentStore(MemoryExperimentStore):
    """Lets somebody else win the next few updates, or the next creation."""

    losses = 0
    is_creation_lost = False

    async def create(self, experiment: Experiment, actor: str, above: int = 0) -> Experiment:
        """Let somebody else create it first, if that is to be so."""
        if self.is_creation_lost:
            self.is_creation_lost = False
            other = msgspec.structs.replace(experiment, exploration_floor=0.5)
            await super().create(other, "somebody-else")
        return await super().create(experiment, actor, above)

    async def update(self, experiment: Experiment, action: str, actor: str) -> Experiment:
        """Let a change of somebody else's in first, as long as losses are left."""
        if self.losses:
            self.losses -= 1
            other = await self.get(experiment.tenant, experiment.id)
            floor = other.exploration_floor / 2
            other = msgspec.structs.replace(
                other, revision=other.revision + 1, exploration_floor=floor
            )
            await super().update(other, "update", "somebody-else")
            raise RevisionConflictError("somebody else was faster")
        return await super().update(experiment, action, actor)


class FailingLedger(MemoryLedger):
    """A ledger that can be taken down, at once or after some pages of an export."""

    is_down = False
    pages_left: int | None = None

    async def evidence(self, experiment: int, above_revision: int = 0) -> EvidenceChange:
        """Return the evidence, unless it is down."""
        self._check()
        return await super().evidence(experiment, above_revision)

    async def rows(
        self, experiment: int, after: Cursor | None, count: int
    ) -> tuple[list[LedgerRow], Cursor | None]:
        """Return rows, unless it is down."""
        self._check()
        if self.pages_left is not None:
            self.is_down = self.pages_left == 0
            self._check()
            self.pages_left -= 1
        return await super().rows(experiment, after, count)

    async def is_reachable(self) -> bool:
        """Return whether it is up."""
        return not self.is_down

    def _check(self) -> None:
        if self.is_down:
            raise LedgerUnavailableError("SQL is down")


class FullOutbox(MemoryOutbox):
    """An outbox whose disk can be full."""

    is_full = False

    @property
    def is_writable(self) -> bool:
        """Whether there is space."""
        return not self.is_full


@dataclass
class House:
    """One API process over memory stores."""

    clock: FrozenClock = field(default_factory=FrozenClock)
    store: CrowdedExperimentStore = field(default_factory=CrowdedExperimentStore)
    allocation_store: MemoryAllocationStore = field(default_factory=MemoryAllocationStore)
    published: MemoryAllocations = field(default_factory=MemoryAllocations)
    ledger: FailingLedger = field(default_factory=FailingLedger)
    outbox: FullOutbox = field(default_factory=FullOutbox)
    metrics: Metrics = field(default_factory=Metrics)
    codec: TokenCodec = field(default_factory=lambda: TokenCodec({KEY_ID: b"k" * 32}, KEY_ID))
    started: list[str] = field(default_factory=list)
    acts: MemoryActStore = field(default_factory=MemoryActStore)
    tallies: MemoryTallyStore = field(default_factory=MemoryTallyStore)
    quality_states: MemoryQualityStates = field(default_factory=MemoryQualityStates)

    def __post_init__(self) -> None:
        self.stores = stores = AllocationStores(
            experiments=self.store,
            allocations=self.allocation_store,
            published=self.published,
            ledger=self.ledger,
        )
        self.tables = ServingTables(stores, self.clock, self.metrics)
        self.allocator = Allocator(stores, self.clock, self.metrics, self.tables.version)
        self.keyring = an_open_keyring(self.clock)
        self.services = self._services()

    @property
    def experiments(self) -> Experiments:
        """The use case of the admin routes."""
        return self.services.experiments

    @cached_property
    def app(self) -> ASGIApp:
        """The application."""
        return create_app(self.services)

    def _services(self) -> Services:
        salts, nonces, ids = count(1), count(), count(1)
        decisions = Decisions(
            tables=self.tables,
            replays=MemoryReplays(),
            outbox=self.outbox,
            ledger=self.ledger,
            codec=lambda: self.codec,
            clock=self.clock,
            nonce=lambda: f"nonce-{next(nonces)}",
            metrics=self.metrics,
        )
        return Services(
            experiments=Experiments(
                store=self.store,
                tables=self.tables,
                reallocate=self.allocator.reallocate,
                make_salt=lambda: next(salts).to_bytes(16, "big"),
                clock=self.clock,
            ),
            allocations=self.tables,
            reports=Reports(ledger=self.ledger, tables=self.tables, clock=self.clock),
            exports=Exports(self.store, self.ledger, lambda: self.codec),
            healths=Healths(self.quality_states, self.tables),
            erasures=Erasures(
                store=MemoryErasureStore(self.ledger, self.acts),
                make_id=lambda: f"{next(ids):032x}",
                clock=self.clock,
            ),
            webhooks=Webhooks(
                store=MemoryWebhookStore(self.acts),
                make_secret=lambda: next(ids).to_bytes(SECRET_BYTES, "big"),
                private_hosts=(),
                clock=self.clock,
            ),
            metrics=self.metrics,
            scrapes=Scrapes(self.metrics),
            service_levels=book_of(self.metrics, self.clock),
            health=Health(self.tables, self.outbox, self.ledger, lambda: True, lambda: False),
            clock=self.clock,
            keyring=self.keyring,
            acts=self.acts,
            start=self._start,
            stop=self._stop,
            decisions=decisions,
            rewards=self._rewards(),
            bulk=Bulk(decisions),
        )

    def _rewards(self) -> Rewards:
        return Rewards(
            tables=self.tables,
            ledger=self.ledger,
            outbox=self.outbox,
            codec=lambda: self.codec,
            clock=self.clock,
            metrics=self.metrics,
            tallies=Tallies(self.tallies, self.clock),
        )

    async def _start(self) -> None:
        self.started.append("start")
        await self.tables.load()

    async def _stop(self) -> None:
        self.started.append("stop")

    @asynccontextmanager
    async def client(self, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """Talk to the application in process, with an API key if one is given."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            yield client

    def decision(self, serial: int, variant: int = 0, *, experiment: int = 1) -> Decision:
        """Return a decision of now, as the hot routes would record it."""
        unit = f"unit-{serial}"
        return Decision(
            key=decision_key(1, experiment, unit, "spring"),
            tenant=1,
            experiment=experiment,
            variant=variant,
            propensity=0.5,
            source=int(Source.policy),
            holdout=False,
            version=1,
            key_id=KEY_ID,
            decided_at_ms=self.clock.at_ms + serial,
            unit=unit,
            occasion="spring",
        )

    async def send(self, pulls: dict[int, int], rewards: dict[int, int]) -> None:
        """Put decisions, and rewards of the first ones, of each variant into the ledger."""
        sent = {
            variant: [self.decision(variant * 100_000 + i, variant) for i in range(number)]
            for variant, number in pulls.items()
        }
        converted = [
            reward_of(decision)
            for variant, number in rewards.items()
            for decision in sent[variant][:number]
        ]
        await self.ledger.append([each for group in sent.values() for each in group], converted)


def reward_of(decision: Decision, event: str = "conversion", value: float = 1.0) -> Reward:
    """Return an accepted reward of a decision."""
    return Reward(
        key=decision.key,
        event=event,
        event_id="",
        tenant=decision.tenant,
        experiment=decision.experiment,
        variant=decision.variant,
        decided_at_ms=decision.decided_at_ms,
        value_micros=round(value * MICROS),
        status=int(RewardStatus.accepted),
        converts=bool(value),
        occurred_at_ms=decision.decided_at_ms + 60_000,
        received_at_ms=decision.decided_at_ms + 61_000,
    )
