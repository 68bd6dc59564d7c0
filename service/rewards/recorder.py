"""Record rewards ledger-first: one insert-or-ignore transaction, then the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from service.domain.clock import SECOND_MS, Clock
from service.domain.reward import Reward, RewardStatus
from service.errors import (
    InvalidInputError,
    LedgerUnavailableError,
    OutboxUnavailableError,
    PoisonRecordError,
)
from service.metrics import Metrics
from service.rewards.hurry import Hurry, Waiting
from service.rewards.synced import SyncedOutbox
from service.sla import REWARD_SQL_DEADLINE_MS
from service.store.ports import Ledger, Outbox
from service.store.records import LedgerOutcome

BATCH_MAX = 500  # One transaction at a time: while it commits, the next batch gathers.
# Callers who were just answered get at most this long to be back with their next reward: two
# half-sized transactions cost nearly twice as much as a whole one.
GATHER_SECONDS_MAX = 0.003
# After SQL missed a deadline, rewards go straight to the outbox for this long.
LEDGER_PAUSE_MS = 1_000
_LEDGER_SECONDS_MAX = REWARD_SQL_DEADLINE_MS / SECOND_MS

_log = structlog.get_logger(__name__)


class Recorder:
    """Gathers rewards into transactions; while SQL is down or behind, into the synced outbox."""

    def __init__(self, ledger: Ledger, outbox: Outbox, clock: Clock, metrics: Metrics) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._synced = SyncedOutbox(outbox)
        self._hurry = Hurry(self._queue_hasty)
        self._clock = clock
        self._metrics = metrics
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._answered = (0, 0.0)  # How many in the last batch, and when.
        self._gathering: tuple[int, asyncio.Future[None]] | None = None
        self._ledger_paused_until_ms = 0

    def enqueue(
        self, reward: Reward, deadline: float | None = None
    ) -> asyncio.Future[RewardStatus]:
        """Return what will hold the reward's status once that is safe.

        At the deadline, a time of the event loop, it is queued; whoever shares its transaction
        waits for SQL all the same.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(reward, loop.create_future(), self._clock.monotonic_ms())
        self._waiting.append(waiting)
        if deadline is not None:
            self._hurry.add(waiting, deadline)
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
            if batch := [waiting for waiting in batch if not waiting.is_queued]:
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

    async def _settle(self, batch: list[Waiting]) -> None:
        self._metrics.batch_size("reward", len(batch))
        try:
            statuses = await self._write(batch)
        except PoisonRecordError as error:
            await self._settle_apart(batch, error)
        except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
            for waiting in batch:
                _fail(waiting, error)
        else:
            for waiting, status in zip(batch, statuses, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(status)

    async def _settle_apart(self, batch: list[Waiting], error: PoisonRecordError) -> None:
        """Find out which reward the ledger refuses, so that its neighbours are recorded."""
        if len(batch) == 1:
            _fail(batch[0], InvalidInputError("the reward cannot be recorded as it is"))
            _log.warning("reward_refused", reason=str(error))
            return
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])

    async def _write(self, batch: list[Waiting]) -> Sequence[RewardStatus]:
        """Commit to the ledger, or, while SQL is down or behind, to the synced outbox."""
        rewards = [waiting.reward for waiting in batch]
        now_ms = self._clock.monotonic_ms()
        is_behind = now_ms - batch[0].since_ms > REWARD_SQL_DEADLINE_MS
        if not is_behind and now_ms >= self._ledger_paused_until_ms:
            try:
                outcome = await self._commit(rewards)
            except (LedgerUnavailableError, TimeoutError):
                self._ledger_paused_until_ms = self._clock.monotonic_ms() + LEDGER_PAUSE_MS
                self._metrics.circuits.paused("ledger-rewards", LEDGER_PAUSE_MS / SECOND_MS)
                _log.warning("ledger_unavailable_rewards_queued")
            else:
                self._keep(rewards, outcome.rewards)
                return _told(rewards, outcome)
        await self._queue(rewards)
        return [RewardStatus.queued] * len(rewards)

    async def _queue(self, rewards: list[Reward]) -> None:
        try:
            await self._synced.put(rewards)
        except OutboxUnavailableError as error:
            self._metrics.outbox_failed("reward")
            raise LedgerUnavailableError("rewards cannot be recorded now") from error

    async def _queue_hasty(self, hasty: list[Waiting]) -> None:
        """Answer those who are out of time; one that SQL takes as well is one in the ledger."""
        try:
            # All are appended at once, so that they share a sync.
            await asyncio.gather(
                *(
                    self._queue([waiting.reward for waiting in hasty[start : start + BATCH_MAX]])
                    for start in range(0, len(hasty), BATCH_MAX)
                )
            )
        except Exception:  # noqa: BLE001  The transaction's own end tells them, if late.
            return
        for waiting in hasty:
            waiting.is_queued = True
            if not waiting.done.done():
                waiting.done.set_result(RewardStatus.queued)

    def _keep(self, rewards: list[Reward], statuses: Sequence[RewardStatus]) -> None:
        """Keep what SQL has committed here too: it may fail over to a state that has not.

        What another transaction recorded is kept as if SQL had not: this process cannot tell
        whether whoever did so has lived to keep it.
        """
        new = len(rewards)
        if RewardStatus.duplicate in statuses:
            pairs = sorted(  # The order within both kinds stays.
                zip(statuses, rewards, strict=True),
                key=lambda pair: pair[0] is RewardStatus.duplicate,
            )
            rewards = [reward for _, reward in pairs]
            new -= sum(status is RewardStatus.duplicate for status in statuses)
        try:
            self._outbox.append(rewards, committed=new)
        except OutboxUnavailableError:  # They are in the ledger, which is what was promised.
            self._metrics.outbox_failed("reward")

    async def _commit(self, rewards: list[Reward]) -> LedgerOutcome:
        """Run one transaction under one deadline; a late one may still commit: it is idempotent."""
        commit = asyncio.create_task(self._ledger.append([], rewards))
        done, _ = await asyncio.wait({commit}, timeout=_LEDGER_SECONDS_MAX)
        if not done:
            commit.add_done_callback(_forget)
            raise TimeoutError
        return commit.result()


def _told(rewards: Sequence[Reward], outcome: LedgerOutcome) -> Sequence[RewardStatus]:
    """Return what callers are told: who repeats a late reward hears again that it was late."""
    if not outcome.late:
        return outcome.rewards
    return [
        RewardStatus.late if (reward.key, reward.event, reward.event_id) in outcome.late else status
        for reward, status in zip(rewards, outcome.rewards, strict=True)
    ]


def _release(gathered: asyncio.Future[None]) -> None:
    if not gathered.done():
        gathered.set_result(None)


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _forget(late: asyncio.Task[LedgerOutcome]) -> None:
    """Read a late transaction's outcome, so that nobody complains it was never retrieved."""
    if not late.cancelled():
        late.exception()
