"""Memory stores joined for tests of the allocator and of the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.allocations import AllocationStores, Allocator, ServingTables
from service.allocations.schedule import AllocationSchedule
from service.domain.allocation import Allocation
from service.domain.decision import Decision, Source, decision_key
from service.domain.experiment import Experiment, PolicySpec, Variant
from service.domain.reward import MICROS, Reward, RewardStatus
from service.errors import LedgerUnavailableError
from service.metrics import Metrics
from service.store.memory_ledger import MemoryLedger
from service.store.memory_redis import MemoryAllocations
from service.store.memory_sql import MemoryAllocationStore, MemoryExperimentStore
from service.store.records import LedgerOutcome, OutboxPosition
from tests.store_records import HandClock

UNIFORM = (2**30, 2**30, 2**30, 2**30)


def variants(*names: str) -> tuple[Variant, ...]:
    return tuple(Variant(name, is_control=i == 0) for i, name in enumerate(names))


def an_experiment(name: str = "spring", policy: PolicySpec = PolicySpec()) -> Experiment:  # noqa: B008
    return Experiment(
        tenant=1,
        number=0,
        id=name,
        revision=1,
        salt=b"salt" * 4,
        variants=variants("a", "b", "c", "d"),
        policy=policy,
    )


class FailingOnce(MemoryLedger):
    """A ledger whose first append fails."""

    has_failed = False

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Append, from the second time on."""
        if not self.has_failed:
            self.has_failed = True
            raise LedgerUnavailableError("SQL is down for a moment")
        return await super().append(decisions, rewards, position)


@dataclass
class Rig:
    """One ledger and one Redis, with as many allocators as a test makes."""

    clock: HandClock = field(default_factory=HandClock)
    metrics: Metrics = field(default_factory=Metrics)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    experiments: MemoryExperimentStore = field(default_factory=MemoryExperimentStore)
    allocations: MemoryAllocationStore = field(default_factory=MemoryAllocationStore)
    published: MemoryAllocations = field(default_factory=MemoryAllocations)
    serial: int = 0

    @property
    def stores(self) -> AllocationStores:
        """What an allocator works on."""
        return AllocationStores(
            experiments=self.experiments,
            allocations=self.allocations,
            published=self.published,
            ledger=self.ledger,
        )

    def allocator(self) -> Allocator:
        """Make an allocator, as of one process."""
        return Allocator(self.stores, self.clock, self.metrics)

    def schedule(self, allocator: Allocator | None = None) -> AllocationSchedule:
        """Make the schedule of one worker."""
        return AllocationSchedule(
            allocator or self.allocator(), self.stores, self.clock, self.metrics
        )

    def tables(self) -> ServingTables:
        """Make the tables of one API process."""
        return ServingTables(self.stores, self.clock, self.metrics)

    async def create(self, experiment: Experiment | None = None) -> Experiment:
        """Store an experiment without allocating it."""
        return await self.experiments.create(experiment or an_experiment(), "test")

    async def head(self, experiment: Experiment) -> Allocation:
        """Return the allocation of the highest version in SQL."""
        found = await self.allocations.head(experiment.number)
        assert found is not None
        return found

    async def head_version(self, experiment: Experiment) -> int:
        """Tell the highest version in SQL."""
        head = await self.allocations.head(experiment.number)
        return 0 if head is None else head.version

    async def send(self, experiment: Experiment, variant: int, pulls: int, rewards: int) -> None:
        """Record so many decisions of a variant, some of them rewarded."""
        decisions = [self.decision(experiment, variant) for _ in range(pulls)]
        await self.ledger.append(decisions, [])
        await self.ledger.append([], [self.reward(decision) for decision in decisions[:rewards]])

    def decision(self, experiment: Experiment, variant: int) -> Decision:
        """Make a decision of a new unit."""
        self.serial += 1
        unit = f"unit-{self.serial}"
        return Decision(
            key=decision_key(1, experiment.number, unit, "spring"),
            tenant=1,
            experiment=experiment.number,
            variant=variant,
            propensity=0.25,
            source=int(Source.policy),
            holdout=False,
            version=1,
            key_id=1,
            decided_at_ms=self.clock.now_ms(),
            unit=unit,
            occasion="spring",
        )

    def reward(self, decision: Decision) -> Reward:
        """Make a decision's conversion."""
        return Reward(
            key=decision.key,
            event="conversion",
            event_id="",
            tenant=1,
            experiment=decision.experiment,
            variant=decision.variant,
            decided_at_ms=decision.decided_at_ms,
            value_micros=MICROS,
            status=int(RewardStatus.accepted),
            converts=True,
            occurred_at_ms=self.clock.now_ms(),
            received_at_ms=self.clock.now_ms(),
        )
