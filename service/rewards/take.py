"""Take what callers report: whose decision it is, what it is worth, and whether it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from service.domain.clock import DAY_MS, SECOND_MS, Clock
from service.domain.experiment import RewardSpec
from service.domain.quality import NO_EXPERIMENT
from service.domain.reward import MICROS, Reward, RewardStatus
from service.domain.serving import ServingTable
from service.domain.token import Claim, TokenCodec
from service.errors import (
    DecisionNotFoundError,
    ExperimentNotFoundError,
    InvalidInputError,
    ServiceError,
    WindowClosedError,
)
from service.metrics import Metrics
from service.rewards.recorder import Recorder
from service.rewards.tally import Tallies
from service.store.ports import Ledger, Outbox

OCCURRED_AHEAD_MS_MAX = DAY_MS  # A clock that is wrong by more than a day is an error.


class RewardWish(Struct, frozen=True, gc=False):
    """What a caller reports; times in milliseconds since the Unix epoch."""

    decision_id: str
    event: str = "conversion"
    value: float | None = None
    event_id: str = ""
    occurred_at_ms: int | None = None


class Tables(Protocol):
    """Where experiments are held by number."""

    def by_number(self, number: int) -> ServingTable | None:
        """Return a held table, or None."""
        ...

    async def find_number(self, number: int, deadline: float | None = None) -> ServingTable:
        """Return a table, asking Redis and SQL.

        Raises `ExperimentNotFoundError`, or `UnavailableError` when the deadline passes.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Rewards:
    """Records rewards in the ledger before they are acknowledged."""

    tables: Tables
    ledger: Ledger
    outbox: Outbox
    codec: Callable[[], TokenCodec]
    clock: Clock
    metrics: Metrics
    tallies: Tallies
    _recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        """Record through the ledger and the outbox given."""
        self._recorder = Recorder(self.ledger, self.outbox, self.clock, self.metrics)

    async def reward(
        self, tenant: int, wish: RewardWish, deadline: float | None = None
    ) -> RewardStatus:
        """Record one reward and return what became of it.

        What SQL has not taken before `deadline`, a time of the event loop, is queued.
        Raises `DecisionNotFoundError`, `InvalidInputError`, or, once the reward is safe,
        `WindowClosedError`.
        """
        reward, table = await self.prepare(tenant, wish, deadline)
        status = await self._recorder.enqueue(reward, deadline)
        self._count(table.label, reward, status)
        if _is_late(reward, status):
            raise WindowClosedError("the attribution window is closed; recorded as late")
        return status

    async def reward_batch(
        self,
        tenant: int,
        wishes: Sequence[RewardWish | ServiceError],
        deadline: float | None = None,
    ) -> list[RewardStatus | ServiceError]:
        """Record many rewards; each gets its own outcome, and an error spoils no neighbour."""
        outcomes = [await self._start(tenant, wish, deadline) for wish in wishes]
        return [await self._outcome(outcome) for outcome in outcomes]

    async def _start(
        self, tenant: int, wish: RewardWish | ServiceError, deadline: float | None
    ) -> ServiceError | tuple[Reward, str, asyncio.Future[RewardStatus]]:
        if isinstance(wish, ServiceError):
            return wish
        try:
            reward, table = await self.prepare(tenant, wish, deadline)
        except ServiceError as error:
            return error
        return reward, table.label, self._recorder.enqueue(reward, deadline)

    async def _outcome(
        self, started: ServiceError | tuple[Reward, str, asyncio.Future[RewardStatus]]
    ) -> RewardStatus | ServiceError:
        if isinstance(started, ServiceError):
            return started
        reward, label, done = started
        try:
            status = await done
        except ServiceError as error:
            return error
        self._count(label, reward, status)
        return RewardStatus.late if _is_late(reward, status) else status

    def _count(self, label: str, reward: Reward, status: RewardStatus) -> None:
        self.metrics.rewarded(label, status.name, 1)
        self.tallies.recorded(reward, status)

    async def prepare(
        self, tenant: int, wish: RewardWish, deadline: float | None = None
    ) -> tuple[Reward, ServingTable]:
        """Return the reward as it will be recorded, or raise why it cannot be."""
        number = NO_EXPERIMENT
        try:
            claim = self._claim(tenant, wish.decision_id)
            table = await self._table(tenant, claim, deadline)
            number = claim.experiment
            return self._reward(claim, wish, table.experiment.reward), table
        except (DecisionNotFoundError, InvalidInputError) as error:
            self.tallies.refused(error, number)
            raise

    def _claim(self, tenant: int, decision_id: str) -> Claim:
        claim = self.codec().decode(decision_id)
        if claim is None or claim.tenant != tenant:
            raise DecisionNotFoundError("no decision of ours has this id")
        return claim

    async def _table(self, tenant: int, claim: Claim, deadline: float | None) -> ServingTable:
        table = self.tables.by_number(claim.experiment)
        if table is None:
            try:
                table = await self.tables.find_number(claim.experiment, deadline)
            except ExperimentNotFoundError as error:
                raise DecisionNotFoundError("no decision of ours has this id") from error
        if table.experiment.tenant != tenant:  # A number is never another's; this makes sure.
            raise DecisionNotFoundError("no decision of ours has this id")
        return table

    def _reward(self, claim: Claim, wish: RewardWish, spec: RewardSpec) -> Reward:
        now_ms = self.clock.now_ms()
        occurred_at_ms = now_ms if wish.occurred_at_ms is None else wish.occurred_at_ms
        if occurred_at_ms > now_ms + OCCURRED_AHEAD_MS_MAX:
            raise InvalidInputError("occurred_at is more than a day ahead")
        if occurred_at_ms < claim.decided_at_ms - OCCURRED_AHEAD_MS_MAX:
            raise InvalidInputError("occurred_at is more than a day before the decision")
        value = spec.events.get(wish.event)
        _check(wish, value)
        is_told = wish.occurred_at_ms is not None
        self.metrics.reward_arrived(
            now_ms - claim.decided_at_ms, now_ms - occurred_at_ms if is_told else None
        )
        return Reward(
            claim.key,
            wish.event,
            wish.event_id,
            claim.tenant,
            claim.experiment,
            claim.variant,
            claim.decided_at_ms,
            round((value or 0.0) * MICROS),
            int(_status(claim, value, spec, occurred_at_ms)),
            bool(value),
            occurred_at_ms,
            now_ms,
        )


def _is_late(reward: Reward, status: RewardStatus) -> bool:
    """Whether it is recorded as late: a repetition is what the first report was.

    A retry after the window, or at a process whose clock is ahead, may be judged otherwise. Only
    while SQL cannot be asked that judgement is all there is.
    """
    if status is RewardStatus.queued:
        return reward.status == RewardStatus.late
    return status is RewardStatus.late


def _check(wish: RewardWish, value: float | None) -> None:
    if "\0" in wish.event or "\0" in wish.event_id:
        raise InvalidInputError("event and event_id must not contain NUL")
    if wish.value is not None and value is not None and wish.value != value:
        raise InvalidInputError("this experiment's reward is binary: leave value out")


def _status(
    claim: Claim, value: float | None, spec: RewardSpec, occurred_at_ms: int
) -> RewardStatus:
    if value is None or not claim.is_counted:
        return RewardStatus.ignored
    if occurred_at_ms - claim.decided_at_ms > spec.window_seconds * SECOND_MS:
        return RewardStatus.late
    return RewardStatus.accepted
