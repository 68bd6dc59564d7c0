"""Decide which variant a unit gets: candidate, replay memory, outbox, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from service.decisions.answers import fall_back, first_answer
from service.decisions.batches import Asking, Batches, Waiting, askings
from service.decisions.recording import Recording
from service.decisions.wish import Eligible, Wish, picked
from service.domain.assignment import Pick
from service.domain.clock import Clock
from service.domain.decision import Decision, Source, replay_of, send_bytes
from service.domain.experiment import ExperimentState
from service.domain.limits import NONCE_MARK
from service.domain.serving import ServingTable
from service.domain.token import TokenCodec
from service.errors import (
    ExperimentNotStartedError,
    RedisUnavailableError,
    UnavailableError,
)
from service.metrics import Metrics
from service.store.ports import Ledger, Outbox, ReplayMemory

SOURCE_NAMES = tuple(source.name for source in Source)

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

    async def find(
        self, tenant: int, experiment_id: str, deadline: float | None = None
    ) -> ServingTable:
        """Return a table, asking Redis and SQL.

        Raises `ExperimentNotFoundError`, or `UnavailableError` when the deadline passes.
        """
        ...

    async def newer(self, table: ServingTable) -> ServingTable:
        """Return the newest table of the same experiment that Redis or SQL have."""
        ...


class Settled(Struct, gc=False):
    """Decisions as they stand after the replay memory was asked."""

    decisions: list[Decision]
    replayed: set[int]


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
    _batches: Batches = field(init=False)
    _recording: Recording = field(init=False)

    def __post_init__(self) -> None:
        """Gather the choices of a turn for `_settle_batch`."""
        self._batches = Batches(self._settle_batch, self.metrics)
        self._recording = Recording(self.outbox, self.ledger, self.clock, self.metrics)

    async def choose(
        self, tenant: int, experiment_id: str, wish: Wish, deadline: float | None = None
    ) -> Answer:
        """Return the answer to one choice; it shares the batch of its event-loop turn.

        What Redis cannot say before `deadline`, a time of the event loop, is not waited for.
        """
        table = self.tables.get(tenant, experiment_id)
        if table is None or table.allocation.state is ExperimentState.DRAFT:
            table = await self.table(tenant, experiment_id, deadline)
        decision = self.candidate(table, wish)
        asks = wish.occasion is not None and wish.force is None
        decision, replayed = await self._batches.enqueue(decision, deadline, asks=asks)
        self.metrics.decided(table.label, SOURCE_NAMES[decision.source], 1)
        if decision.variant >= len(table.variant_ids):
            table = await self.table_with(table, decision.variant)
        return Answer(decision, self.decision_id(decision), replayed, table)

    async def table(
        self, tenant: int, experiment_id: str, deadline: float | None = None
    ) -> ServingTable:
        """Return a started experiment's table, or raise what the caller is told."""
        table = self.tables.get(tenant, experiment_id)
        if table is None:
            table = await self.tables.find(tenant, experiment_id, deadline)
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
        newer = await self.tables.newer(table)
        if variant >= len(newer.variant_ids):
            raise UnavailableError("the answer given before is of a variant not known here yet")
        return newer

    async def _settle_batch(self, batch: list[Waiting]) -> None:
        asks = askings(batch, asyncio.get_running_loop().time())
        settled = await self.settle([waiting.decision for waiting in batch], asks)
        for i, waiting in enumerate(batch):
            if not waiting.done.done():  # A caller that hung up cancelled its future.
                waiting.done.set_result((settled.decisions[i], i in settled.replayed))

    async def settle(self, candidates: list[Decision], asks: Sequence[Asking]) -> Settled:
        """Ask the replay memory for some of the candidates, and record all the answers.

        At most `BATCH_MAX` at once. Raises `OutboxUnavailableError` when neither the outbox nor
        the ledger takes them.
        """
        decisions = list(candidates)
        replayed: set[int] = set()
        if len(asks) == 1:
            replayed = await self._ask(decisions, asks[0])
        elif asks:
            replayed = set[int]().union(
                *await asyncio.gather(*(self._ask(decisions, asking) for asking in asks))
            )
        await self._recording.record(decisions)
        return Settled(decisions, replayed)

    async def _ask(self, decisions: list[Decision], asking: Asking) -> set[int]:
        """Replace what was decided before by its first answer; return which ones those were."""
        asked, deadline_ms = asking.indices, asking.deadline_ms
        keys = [decisions[i].key for i in asked]
        values = [replay_of(decisions[i]) for i in asked]
        try:
            earlier = await self.replays.remember(keys, values, self.clock.now_ms(), deadline_ms)
        except RedisUnavailableError:
            return self._fall_back(decisions, asked, deadline_ms)
        codec = self.codec()
        replayed = set()
        unreached = []
        for i, value in zip(asked, earlier, strict=True):
            if value:
                replayed.add(i)
                decisions[i] = first_answer(decisions[i], value, codec)
            elif value is not None:
                unreached.append(i)
        if replayed:
            self.metrics.replayed(len(replayed))
        if unreached:
            replayed |= self._fall_back(decisions, unreached, deadline_ms)
        return replayed

    def _fall_back(
        self, decisions: list[Decision], asked: Sequence[int], deadline_ms: float | None
    ) -> set[int]:
        self.metrics.fell_back("redis" if deadline_ms is None else "deadline", len(asked))
        return fall_back(decisions, asked)
