"""Decide which variant a unit gets: candidate, replay memory, outbox, answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from service.decisions.wish import Eligible, Wish, picked
from service.domain.assignment import Pick
from service.domain.clock import Clock
from service.domain.decision import Decision, Source, replay_of, send_bytes, unpack_replay
from service.domain.experiment import ExperimentState
from service.domain.limits import NONCE_MARK
from service.domain.serving import ServingTable
from service.domain.token import TokenCodec
from service.errors import (
    ExperimentNotStartedError,
    LedgerUnavailableError,
    OutboxUnavailableError,
    RedisUnavailableError,
)
from service.metrics import Metrics
from service.store.ports import Ledger, Outbox, ReplayMemory

BATCH_MAX = 500  # Decisions settled at once: one script call, one append.
# While Redis answers one batch the next gathers and is sent: more at once would only be smaller.
BATCHES_IN_FLIGHT_MAX = 2
SOURCE_NAMES = tuple(source.name for source in Source)

_log = structlog.get_logger(__name__)


# What a decision is about: key, unit, occasion, context, eligible indices.
Send = tuple[bytes, str, str, bytes | None, Eligible]


class Answer(Struct, frozen=True, gc=False):
    """A settled decision with the table to read its variant from."""

    decision: Decision
    decision_id: str
    replayed: bool
    table: ServingTable

    @property
    def variant_id(self) -> str:
        """The id of the variant to send."""
        return self.table.variant_ids[self.decision.variant]


class Tables(Protocol):
    """Where the allocations in force are held."""

    def get(self, tenant: int, experiment_id: str) -> ServingTable | None:
        """Return a held table, or None."""
        ...

    async def find(self, tenant: int, experiment_id: str) -> ServingTable:
        """Return a table, asking Redis and SQL; raises `ExperimentNotFoundError`."""
        ...

    async def newer(self, table: ServingTable) -> ServingTable:
        """Return the newest table of the same experiment that Redis or SQL have."""
        ...


class Settled(Struct, gc=False):
    """Decisions as they stand after the replay memory was asked."""

    decisions: list[Decision]
    replayed: set[int]


class _Waiting(Struct, gc=False):
    decision: Decision
    asks: bool
    done: asyncio.Future[tuple[Decision, bool]]


@dataclass(slots=True, kw_only=True)
class Decisions:
    """Answers choices; every one is in the outbox before it is told."""

    tables: Tables
    replays: ReplayMemory
    outbox: Outbox
    ledger: Ledger
    codec: Callable[[], TokenCodec]
    clock: Clock
    nonce: Callable[[], str]
    metrics: Metrics
    _waiting: list[_Waiting] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _is_scheduled: bool = False
    _last_size: int = 0

    async def choose(self, tenant: int, experiment_id: str, wish: Wish) -> Answer:
        """Return the answer to one choice; it shares the batch of its event-loop turn."""
        table = self.tables.get(tenant, experiment_id)
        if table is None or table.allocation.state is ExperimentState.DRAFT:
            table = await self.table(tenant, experiment_id)
        decision = self.candidate(table, wish)
        asks = wish.occasion is not None and wish.force is None
        decision, replayed = await self._enqueue(decision, asks=asks)
        self.metrics.decided(experiment_id, SOURCE_NAMES[decision.source], 1)
        if decision.variant >= len(table.variant_ids):
            table = await self.table_with(table, decision.variant)
        return Answer(decision, self.decision_id(decision), replayed, table)

    async def table(self, tenant: int, experiment_id: str) -> ServingTable:
        """Return a started experiment's table, or raise what the caller is told."""
        table = self.tables.get(tenant, experiment_id)
        if table is None:
            table = await self.tables.find(tenant, experiment_id)
        if table.allocation.state is ExperimentState.DRAFT:
            raise ExperimentNotStartedError(
                "the experiment is a draft; resume it or set its state to running"
            )
        return table

    def candidate(self, table: ServingTable, wish: Wish) -> Decision:
        """Build the whole candidate answer before anybody is asked."""
        occasion = self._occasion(wish)
        send = send_bytes(wish.unit, occasion)
        pick, eligible = picked(table, wish, send)
        key = table.assigner.key(send)
        return self.decision(table, pick, (key, wish.unit, occasion, wish.context, eligible))

    def decision(self, table: ServingTable, pick: Pick, send: Send) -> Decision:
        """Record a pick as a decision of now."""
        key, unit, occasion, context, eligible = send
        allocation = table.allocation
        return Decision(
            key,
            allocation.tenant,
            allocation.experiment,
            pick.variant,
            pick.propensity,
            int(pick.source),
            pick.holdout,
            allocation.version,
            self.codec().signing_id,
            self.clock.now_ms(),
            unit,
            occasion,
            context,
            eligible,
        )

    def _occasion(self, wish: Wish) -> str:
        """Return the occasion recorded: the caller's, or a nonce that makes it a new decision."""
        if wish.force is not None:
            return f"{NONCE_MARK}{self.nonce()}:{wish.occasion or ''}"
        if wish.occasion is None:
            return NONCE_MARK + self.nonce()
        return wish.occasion

    def decision_id(self, decision: Decision) -> str:
        """Return a decision's signed token."""
        return self.codec().encode(decision)

    async def table_with(self, table: ServingTable, variant: int) -> ServingTable:
        """Return a table that knows a variant: a replay may name a newer one than we hold."""
        if variant < len(table.variant_ids):
            return table
        return await self.tables.newer(table)

    def _enqueue(self, decision: Decision, *, asks: bool) -> asyncio.Future[tuple[Decision, bool]]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(decision, asks, loop.create_future())
        self._waiting.append(waiting)
        self._schedule(loop)
        return waiting.done

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_scheduled or len(self._running) >= BATCHES_IN_FLIGHT_MAX:
            return
        # Beside a batch under way only one that is as large: two halves share the callers.
        if not self._running or len(self._waiting) >= self._last_size:
            self._is_scheduled = True
            loop.call_soon(self._start_batch, loop)

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        if batch:
            self.metrics.batch_size("choice", len(batch))
            self._last_size = len(batch)
            task = loop.create_task(self._settle_batch(batch))
            self._running.add(task)
            task.add_done_callback(self._end_batch)

    def _end_batch(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._schedule(task.get_loop())

    async def _settle_batch(self, batch: list[_Waiting]) -> None:
        asked = [i for i, waiting in enumerate(batch) if waiting.asks]
        try:
            settled = await self.settle([waiting.decision for waiting in batch], asked)
        except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
            return
        for i, waiting in enumerate(batch):
            if not waiting.done.done():  # A caller that hung up cancelled its future.
                waiting.done.set_result((settled.decisions[i], i in settled.replayed))

    async def settle(self, candidates: list[Decision], asked: Sequence[int]) -> Settled:
        """Ask the replay memory for some of the candidates, and record all the answers.

        At most `BATCH_MAX` at once. Raises `OutboxUnavailableError` when neither the outbox nor
        the ledger takes them.
        """
        decisions = list(candidates)
        replayed: set[int] = set()
        if asked:
            replayed = await self._ask(decisions, asked)
        await self._record(decisions)
        return Settled(decisions, replayed)

    async def _ask(self, decisions: list[Decision], asked: Sequence[int]) -> set[int]:
        """Replace what was decided before by its first answer; return which ones those were."""
        keys = [decisions[i].key for i in asked]
        values = [replay_of(decisions[i]) for i in asked]
        try:
            earlier = await self.replays.remember(keys, values, self.clock.now_ms())
        except RedisUnavailableError:
            self.metrics.fell_back("redis", len(asked))
            return _fall_back(decisions, asked)
        codec = self.codec()
        replayed = set()
        for i, value in zip(asked, earlier, strict=True):
            if value is not None:
                replayed.add(i)
                decisions[i] = _replayed(decisions[i], value, codec)
        if replayed:
            self.metrics.replayed(len(replayed))
        return replayed

    async def _record(self, decisions: list[Decision]) -> None:
        """Append to the outbox, or to the ledger when the outbox cannot take it."""
        try:
            self.outbox.append(decisions)
        except OutboxUnavailableError:
            self.metrics.outbox_failed("choice")
            try:
                await self.ledger.append(decisions, [])
            except LedgerUnavailableError as error:
                raise OutboxUnavailableError("decisions cannot be recorded now") from error


def _fall_back(decisions: list[Decision], asked: Sequence[int]) -> set[int]:
    """Answer without Redis; within a batch at least, equal sends get one answer."""
    firsts: dict[bytes, Decision] = {}
    repeated = set()
    for i in asked:
        first = firsts.get(decisions[i].key)
        if first is None:
            first = firsts[decisions[i].key] = _fallback(decisions[i])
        else:
            repeated.add(i)
        decisions[i] = first
    return repeated


def _fallback(decision: Decision) -> Decision:
    """Mark an answer that Redis was not there to confirm; an inactive one stays inactive."""
    if decision.source != Source.policy:
        return decision
    return replace(decision, source=int(Source.fallback))


def _replayed(candidate: Decision, value: bytes, codec: TokenCodec) -> Decision:
    """Return the first answer to the candidate's send, from its 20 bytes."""
    try:
        replay = unpack_replay(value)
    except struct.error:
        _log.error("replay_memory_damaged")  # Not ours: the candidate is as good as any.
        return candidate
    return replace(
        candidate,
        variant=replay.variant,
        propensity=replay.propensity,
        source=replay.source,
        holdout=replay.holdout,
        version=replay.version,
        # Signed anew where its key is gone, or not here yet: better another id than no answer.
        key_id=replay.key_id if codec.can_sign(replay.key_id) else candidate.key_id,
        decided_at_ms=replay.decided_at_ms,
    )
