"""Decide a whole send at once: slices of units, one slice ahead of the replay memory."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from service.decisions import SOURCE_NAMES, Asking, Decisions, Settled
from service.domain.clock import SECOND_MS
from service.domain.decision import Decision, send_bytes
from service.domain.serving import ServingTable
from service.sla import CHOOSE_REDIS_DEADLINE_MS

# A single choice waits for the slice under way: with 500 units that alone is half of its 10 ms.
SLICE_UNITS = 125
# While Redis answers one slice the next is built; more would only lengthen the queue there.
SLICES_AHEAD = 2
# Of all sends together. With the batches of single choices they find a connection each: a slice
# that waits for one would be taken for a Redis that is late.
SLICES_IN_FLIGHT_MAX = 4


class Slice(Struct, frozen=True):
    """Settled decisions of some consecutive units, and which of them were replayed."""

    decisions: list[Decision]
    replayed: set[int]
    table: ServingTable


class Bulk:
    """Answers `/choose/batch`; the decisions are those that `/choose` would give one by one."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._places = asyncio.Semaphore(SLICES_IN_FLIGHT_MAX)

    async def table(
        self, tenant: int, experiment_id: str, deadline: float | None = None
    ) -> ServingTable:
        """Return a started experiment's table, or raise what the caller is told."""
        return await self._decisions.table(tenant, experiment_id, deadline)

    async def choose(
        self,
        table: ServingTable,
        occasion: str,
        units: Sequence[str],
        deadline: float | None = None,
    ) -> AsyncIterator[Slice]:
        """Yield the settled slices of a send, in the units' order.

        One table serves the whole call, so all its propensities are of one allocation version.
        For slices that come after `deadline`, a time of the event loop, Redis is not asked.
        """
        pending: deque[asyncio.Task[Settled]] = deque()
        try:
            for start in range(0, len(units), SLICE_UNITS):
                some = units[start : start + SLICE_UNITS]
                pending.append(asyncio.create_task(self._settled(table, occasion, some, deadline)))
                # Let the slice reach Redis, and other callers have their turn.
                await asyncio.sleep(0)
                if len(pending) > SLICES_AHEAD:
                    yield await self._finish(table, pending)
            while pending:
                yield await self._finish(table, pending)
        finally:
            for task in pending:
                task.cancel()

    async def _settled(
        self, table: ServingTable, occasion: str, units: Sequence[str], deadline: float | None
    ) -> Settled:
        async with self._places:
            candidates = [self._candidate(table, occasion, unit) for unit in units]
            asking = Asking(range(len(candidates)), _left_ms(deadline))
            return await self._decisions.settle(candidates, [asking])

    def _candidate(self, table: ServingTable, occasion: str, unit: str) -> Decision:
        send = send_bytes(unit, occasion)
        pick = table.assigner.pick(unit, send)
        key = table.assigner.key(send)
        return self._decisions.decision(table, pick, (key, unit, occasion, None, None))

    async def _finish(self, table: ServingTable, pending: deque[asyncio.Task[Settled]]) -> Slice:
        settled = await pending[0]
        del pending[0]  # Only now: a cancelled wait leaves it to be cancelled too.
        for source, count in Counter(d.source for d in settled.decisions).items():
            name = SOURCE_NAMES[source]
            self._decisions.metrics.decided(table.label, name, count)
        newest = max(decision.variant for decision in settled.decisions)
        table = await self._decisions.table_with(table, newest)
        return Slice(settled.decisions, settled.replayed, table)


def _left_ms(deadline: float | None) -> float | None:
    """Return what a call has left, None when that is no less than Redis gets anyway."""
    if deadline is None:
        return None
    left_ms = (deadline - asyncio.get_running_loop().time()) * SECOND_MS
    return None if left_ms >= CHOOSE_REDIS_DEADLINE_MS else max(0.0, left_ms)
