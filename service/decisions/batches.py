"""Gather the choices of one turn of the event loop, so that they are settled together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from service.domain.decision import Decision
from service.metrics import Metrics
from service.sla import CHOOSE_REDIS_DEADLINE_MS, CHOOSE_WAIT_MS

BATCH_MAX = 500  # Decisions settled at once: one script call, one append.
# While Redis answers one batch the next gathers and is sent: more at once would only be smaller.
BATCHES_IN_FLIGHT_MAX = 2
# With less time left than this, Redis would hardly answer before the caller has gone.
ASK_SECONDS_MIN = 0.005
_WAIT_SECONDS = CHOOSE_WAIT_MS / 1_000
_REDIS_SECONDS = CHOOSE_REDIS_DEADLINE_MS / 1_000


class Asking(Struct, frozen=True):
    """Candidates to ask the replay memory for, and how long that may take.

    `deadline_ms` is None where the memory's own deadline is short enough, and 0 where there is
    no time left to ask at all.
    """

    indices: Sequence[int]
    deadline_ms: float | None = None


class Waiting(Struct, gc=False):
    """A choice that waits to be settled; `deadline` is a time of the event loop."""

    decision: Decision
    asks: bool
    deadline: float
    done: asyncio.Future[tuple[Decision, bool]]


class Batches:
    """Starts one batch a turn of the loop, and never more than two at once."""

    def __init__(
        self, settle: Callable[[list[Waiting]], Awaitable[None]], metrics: Metrics
    ) -> None:
        self._settle = settle
        self._metrics = metrics
        self._waiting: list[Waiting] = []
        self._running: set[asyncio.Task[None]] = set()
        self._is_scheduled = False
        self._last_size = 0

    def enqueue(
        self, decision: Decision, deadline: float | None, *, asks: bool
    ) -> asyncio.Future[tuple[Decision, bool]]:
        """Return what will hold the settled decision, and whether it was given before."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + _WAIT_SECONDS
        if deadline is not None and deadline < latest:
            latest = deadline
        waiting = Waiting(decision, asks, latest, loop.create_future())
        self._waiting.append(waiting)
        self._schedule(loop)
        return waiting.done

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_scheduled or len(self._running) >= BATCHES_IN_FLIGHT_MAX:
            return
        # Beside a batch under way only one that is as large: two halves share the callers.
        if not self._running or len(self._waiting) >= self._last_size:
            self._is_scheduled = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        if batch:
            self._metrics.batch_size("choice", len(batch))
            self._last_size = len(batch)
            task = loop.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._schedule(task.get_loop())

    async def _run(self, batch: list[Waiting]) -> None:
        try:
            await self._settle(batch)
        except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)


def askings(batch: Sequence[Waiting], now: float) -> list[Asking]:
    """Group those who ask by the time they have: a hasty caller spoils it for nobody else."""
    patient: list[int] = []
    hasty: list[int] = []
    late: list[int] = []
    least = _REDIS_SECONDS
    for i, waiting in enumerate(batch):
        if not waiting.asks:
            continue
        left = waiting.deadline - now
        if left >= _REDIS_SECONDS:
            patient.append(i)
        elif left >= ASK_SECONDS_MIN:
            hasty.append(i)
            least = min(least, left)
        else:
            late.append(i)
    groups = ((patient, None), (hasty, least * 1_000), (late, 0.0))
    return [Asking(indices, deadline_ms) for indices, deadline_ms in groups if indices]
