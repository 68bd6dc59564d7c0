"""Take rewards ledger-first: one insert-or-ignore transaction, then the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from msgspec import Struct

from service.domain.clock import DAY_MS, SECOND_MS, Clock
from service.domain.experiment import RewardSpec
from service.domain.reward import MICROS, Reward, RewardStatus
from service.domain.serving import ServingTable
from service.domain.token import Claim, TokenCodec
from service.errors import (
    DecisionNotFoundError,
    ExperimentNotFoundError,
    InvalidInputError,
    LedgerUnavailableError,
    OutboxUnavailableError,
    PoisonRecordError,
    ServiceError,
    WindowClosedError,
)
from service.metrics import Metrics
from service.sla import REWARD_SQL_DEADLINE_MS
from service.store.ports import Ledger, Outbox
from service.store.records import LedgerOutcome

BATCH_MAX = 500  # One transaction at a time: while it commits, the next batch gathers.
# Callers who were just answered get at most this long to be back with their next reward: two
# half-sized transactions cost nearly twice as much as a whole one.
GATHER_SECONDS_MAX = 0.003
# After SQL missed a deadline, rewards go straight to the outbox for this long.
LEDGER_PAUSE_MS = 1_000
OCCURRED_AHEAD_MS_MAX = DAY_MS  # A clock that is wrong by more than a day is an error.

_log = structlog.get_logger(__name__)


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

    async def find_number(self, number: int) -> ServingTable:
        """Return a table, asking Redis and SQL; raises `ExperimentNotFoundError`."""
        ...


class _Waiting(Struct, gc=False):
    reward: Reward
    done: asyncio.Future[RewardStatus]


@dataclass(slots=True, kw_only=True)
class Rewards:
    """Records rewards in the ledger before they are acknowledged."""

    tables: Tables
    ledger: Ledger
    outbox: Outbox
    codec: Callable[[], TokenCodec]
    clock: Clock
    metrics: Metrics
    _waiting: list[_Waiting] = field(default_factory=list)
    _writer: asyncio.Task[None] | None = None
    _answered: tuple[int, float] = (0, 0.0)  # How many in the last batch, and when.
    _gathering: tuple[int, asyncio.Future[None]] | None = None
    _ledger_paused_until_ms: int = 0

    async def reward(self, tenant: int, wish: RewardWish) -> RewardStatus:
        """Record one reward and return what became of it.

        Raises `DecisionNotFoundError`, `InvalidInputError`, or, once the reward is safe,
        `WindowClosedError`.
        """
        reward, table = await self.prepare(tenant, wish)
        status = await self._enqueue(reward)
        self.metrics.rewarded(table.experiment.id, status.name, 1)
        if reward.status == RewardStatus.late:
            raise WindowClosedError("the attribution window is closed; recorded as late")
        return status

    async def reward_batch(
        self, tenant: int, wishes: Sequence[RewardWish | ServiceError]
    ) -> list[RewardStatus | ServiceError]:
        """Record many rewards; each gets its own outcome, and an error spoils no neighbour."""
        outcomes = [await self._start(tenant, wish) for wish in wishes]
        return [await self._outcome(outcome) for outcome in outcomes]

    async def _start(
        self, tenant: int, wish: RewardWish | ServiceError
    ) -> ServiceError | tuple[Reward, str, asyncio.Future[RewardStatus]]:
        if isinstance(wish, ServiceError):
            return wish
        try:
            reward, table = await self.prepare(tenant, wish)
        except ServiceError as error:
            return error
        return reward, table.experiment.id, self._enqueue(reward)

    async def _outcome(
        self, started: ServiceError | tuple[Reward, str, asyncio.Future[RewardStatus]]
    ) -> RewardStatus | ServiceError:
        if isinstance(started, ServiceError):
            return started
        reward, experiment_id, done = started
        try:
            status = await done
        except ServiceError as error:
            return error
        self.metrics.rewarded(experiment_id, status.name, 1)
        return RewardStatus.late if reward.status == RewardStatus.late else status

    async def prepare(self, tenant: int, wish: RewardWish) -> tuple[Reward, ServingTable]:
        """Return the reward as it will be recorded, or raise why it cannot be."""
        claim = self.codec().decode(wish.decision_id)
        if claim is None or claim.tenant != tenant:
            raise DecisionNotFoundError("no decision of ours has this id")
        table = self.tables.by_number(claim.experiment)
        if table is None:
            try:
                table = await self.tables.find_number(claim.experiment)
            except ExperimentNotFoundError as error:
                raise DecisionNotFoundError("no decision of ours has this id") from error
        return self._reward(claim, wish, table.experiment.reward), table

    def _reward(self, claim: Claim, wish: RewardWish, spec: RewardSpec) -> Reward:
        now_ms = self.clock.now_ms()
        occurred_at_ms = now_ms if wish.occurred_at_ms is None else wish.occurred_at_ms
        if occurred_at_ms > now_ms + OCCURRED_AHEAD_MS_MAX:
            raise InvalidInputError("occurred_at is more than a day ahead")
        if occurred_at_ms < claim.decided_at_ms - OCCURRED_AHEAD_MS_MAX:
            raise InvalidInputError("occurred_at is more than a day before the decision")
        value = spec.events.get(wish.event)
        _check(wish, value)
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

    def _enqueue(self, reward: Reward) -> asyncio.Future[RewardStatus]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(reward, loop.create_future())
        self._waiting.append(waiting)
        if self._gathering is not None and len(self._waiting) >= self._gathering[0]:
            _release(self._gathering[1])
        if self._writer is None:
            self._writer = loop.create_task(self._write_all())
        return waiting.done

    async def _write_all(self) -> None:
        """Write batch after batch until nobody waits."""
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            await self._settle(batch)
            self._answered = (len(batch), asyncio.get_running_loop().time())
        self._writer = None

    async def _gather(self) -> None:
        """Wait a little for as many as were answered just now."""
        loop = asyncio.get_running_loop()
        count, at = self._answered
        if len(self._waiting) >= count or loop.time() - at > GATHER_SECONDS_MAX:
            return
        self._gathering = (count, loop.create_future())
        timer = loop.call_later(GATHER_SECONDS_MAX, _release, self._gathering[1])
        await self._gathering[1]
        timer.cancel()
        self._gathering = None

    async def _settle(self, batch: list[_Waiting]) -> None:
        self.metrics.batch_size("reward", len(batch))
        try:
            statuses = await self._write([waiting.reward for waiting in batch])
        except PoisonRecordError as error:
            await self._settle_apart(batch, error)
        except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
            for waiting in batch:
                _fail(waiting, error)
        else:
            for waiting, status in zip(batch, statuses, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(status)

    async def _settle_apart(self, batch: list[_Waiting], error: PoisonRecordError) -> None:
        """Find out which reward the ledger refuses, so that its neighbours are recorded."""
        if len(batch) == 1:
            _fail(batch[0], InvalidInputError("the reward cannot be recorded as it is"))
            _log.warning("reward_refused", reason=str(error))
            return
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])

    async def _write(self, rewards: list[Reward]) -> Sequence[RewardStatus]:
        """Commit to the ledger, or, while SQL is down or behind, to the synced outbox."""
        waited_ms = self.clock.now_ms() - rewards[0].received_at_ms
        is_paused = self.clock.monotonic_ms() < self._ledger_paused_until_ms
        if waited_ms <= REWARD_SQL_DEADLINE_MS and not is_paused:
            try:
                statuses = await self._commit(rewards)
            except (LedgerUnavailableError, TimeoutError):
                self._ledger_paused_until_ms = self.clock.monotonic_ms() + LEDGER_PAUSE_MS
                self.metrics.circuits.paused("ledger-rewards", LEDGER_PAUSE_MS / SECOND_MS)
                _log.warning("ledger_unavailable_rewards_queued")
            else:
                self._keep(rewards, statuses)
                return statuses
        try:
            self.outbox.append(rewards)
            await asyncio.to_thread(self.outbox.sync)
        except OutboxUnavailableError as error:
            self.metrics.outbox_failed("reward")
            raise LedgerUnavailableError("rewards cannot be recorded now") from error
        return [RewardStatus.queued] * len(rewards)

    def _keep(self, rewards: list[Reward], statuses: Sequence[RewardStatus]) -> None:
        """Keep what SQL has committed here too: it may fail over to a state that has not.

        What another transaction recorded is kept as if SQL had not: this process cannot tell
        whether whoever did so has lived to keep it.
        """
        new: list[Reward] = []
        known: list[Reward] = []
        for reward, status in zip(rewards, statuses, strict=True):
            (known if status is RewardStatus.duplicate else new).append(reward)
        try:
            self.outbox.append([*new, *known], committed=len(new))
        except OutboxUnavailableError:  # They are in the ledger, which is what was promised.
            self.metrics.outbox_failed("reward")

    async def _commit(self, rewards: list[Reward]) -> Sequence[RewardStatus]:
        """Run one transaction under one deadline; a late one may still commit: it is idempotent."""
        commit = asyncio.create_task(self.ledger.append([], rewards))
        done, _ = await asyncio.wait({commit}, timeout=REWARD_SQL_DEADLINE_MS / SECOND_MS)
        if not done:
            commit.add_done_callback(_forget)
            raise TimeoutError
        return commit.result().rewards


def _release(gathered: asyncio.Future[None]) -> None:
    if not gathered.done():
        gathered.set_result(None)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _forget(late: asyncio.Task[LedgerOutcome]) -> None:
    """Read a late transaction's outcome, so that nobody complains it was never retrieved."""
    if not late.cancelled():
        late.exception()


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
