"""The worker process: its loops, and its orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter

from service.allocations.schedule import AllocationSchedule
from service.domain.clock import MINUTE_MS, SECOND_MS, Clock
from service.errors import UnavailableError
from service.logs import logger
from service.metrics import Metrics
from service.privacy import Eraser, Quarantines, Retention
from service.quality import QualityWatch
from service.sla import ALLOCATION_INTERVAL_MS
from service.webhooks import Deliverer
from service.worker.audit import Audit
from service.worker.drain import Drain
from service.worker.lease import RENEW_SECONDS, Lease
from service.worker.loop import Loop, every
from service.worker.page import LearningPage
from service.worker.progress import BATCH_MAX
from service.worker.restore import Restore
from service.worker.snapshots import Snapshots
from service.worker.write_back import WriteBack

# A lesson is learned every 200 ms anyway: so long, a busy service fills whole transactions, which
# cost a quarter less a row than short ones.
DRAIN_PAUSE_SECONDS = 0.075
DRAIN_PAUSE_IDLE_SECONDS = 0.05
MEASURE_SECONDS = 1.0
CLEAN_SECONDS = MINUTE_MS / SECOND_MS
RESTORE_SECONDS = 1.0
ERASE_SECONDS = 0.5
QUARANTINE_SECONDS = 10.0
WRITE_BACK_SECONDS = 0.2
WEBHOOKS_SECONDS = 1.0
WAIT_FOR_LEASE_SECONDS = 0.2
STOP_SECONDS_MAX = 3.0
_NOT_HELD = object()

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How often what need not be quick is done, and how long the last drain may take."""

    last_drain_seconds: float = 20.0
    audit_seconds: float = 600.0
    audit_first_seconds: float = 15.0
    snapshot_seconds: float = 60.0
    page_seconds: float = 10.0
    quality_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything that runs beside the API processes."""

    drain: Drain
    write_back: WriteBack
    schedule: AllocationSchedule
    restore: Restore
    snapshots: Snapshots
    audit: Audit
    eraser: Eraser
    retention: Retention
    quarantines: Quarantines
    webhooks: Deliverer
    quality: QualityWatch
    page: LearningPage
    lease: Lease
    intervals: Intervals
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]
    prepare: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then drain what is there and close."""
        await self._until_prepared(stop)
        tasks = [asyncio.create_task(loop.run(stop)) for loop in self._loops()]
        await stop.wait()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS_MAX)
        for task in late:
            task.cancel()
        with suppress(UnavailableError):  # First: nothing needs it now, and draining takes time.
            await self.lease.release()
        self.page.remove()
        await self.drain_all()
        await self.close()

    async def _until_prepared(self, stop: asyncio.Event) -> None:
        loop = self._loop("prepare", self.prepare, every(0.0))
        while not stop.is_set() and (seconds := await loop.once()):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)

    async def drain_all(self) -> None:
        """Commit what is in the outbox now, for as long as an orderly end may take."""
        deadline = perf_counter() + self.intervals.last_drain_seconds
        ends = self.drain.ends()  # API processes may go on: the worker after this one reads it.
        is_done = False

        async def turn() -> int:
            nonlocal is_done
            committed = await self.drain.turn()
            is_done = not committed or self.drain.has_reached(ends)
            return committed

        loop = self._loop("drain", turn, _drain_pause)
        while perf_counter() < deadline:
            pause = await loop.once()
            if is_done:
                await self._write_back_all(deadline)
                return
            await asyncio.sleep(pause)
        _log.warning("outbox_not_empty_at_end")

    async def _write_back_all(self, deadline: float) -> None:
        """Tell Redis what it is owed, unless it is away: the next worker finds that in SQL."""
        loop = self._loop("write-back", self.write_back.turn, _write_back_pause)
        while self.write_back.owes and perf_counter() < deadline:
            if await loop.once():
                return

    def _loops(self) -> list[Loop]:
        audit, snapshot = self.intervals.audit_seconds, self.intervals.snapshot_seconds
        return [
            self._loop("drain", self.drain.turn, _drain_pause),
            self._loop("write-back", self.write_back.turn, _write_back_pause),
            self._loop("measure", self._measure, every(MEASURE_SECONDS)),
            self._loop("clean", self.drain.clean, every(CLEAN_SECONDS)),
            self._loop("make-room", self.drain.make_room, every(MEASURE_SECONDS)),
            self._loop("lease", self.lease.turn, every(RENEW_SECONDS)),
            self._leased("restore", self.restore.turn, every(RESTORE_SECONDS)),
            self._leased("allocate", self.schedule.tick, _allocate_pause),
            self._loop("quarantine", self.quarantines.turn, every(QUARANTINE_SECONDS)),
            self._leased("erase", self.eraser.turn, every(ERASE_SECONDS)),
            self._leased("retention", self.retention.turn, _retention_pause),
            self._leased("webhooks", self.webhooks.turn, _webhooks_pause),
            self._leased("quality", self.quality.turn, every(self.intervals.quality_seconds)),
            self._leased("snapshot", self.snapshots.turn, every(snapshot)),
            self._loop("page", self.page.turn, self._page_pause),
            replace(
                self._leased("audit", self.audit.turn, every(audit)),
                first_after_seconds=self.intervals.audit_first_seconds,
            ),
        ]

    def _loop(
        self,
        name: str,
        turn: Callable[[], Awaitable[object]],
        pause: Callable[[object], float],
    ) -> Loop:
        return Loop(
            name=name,
            turn=turn,
            pause=pause,
            clock=self.clock,
            metrics=self.metrics,
            jitter=self.jitter,
        )

    def _leased(
        self,
        name: str,
        turn: Callable[[], Awaitable[object]],
        pause: Callable[[object], float],
    ) -> Loop:
        """Return a loop that waits while another worker holds the lease."""

        async def if_held() -> object:
            return await turn() if self.lease.is_held else _NOT_HELD

        def pause_if_held(outcome: object) -> float:
            return WAIT_FOR_LEASE_SECONDS if outcome is _NOT_HELD else pause(outcome)

        return self._loop(name, if_held, pause_if_held)

    def _page_pause(self, was_written: object) -> float:
        return self.intervals.page_seconds if was_written else WAIT_FOR_LEASE_SECONDS

    async def _measure(self) -> None:
        self.drain.measure()
        self.metrics.flush()


def _allocate_pause(has_more: object) -> float:
    return DRAIN_PAUSE_SECONDS if has_more else ALLOCATION_INTERVAL_MS / SECOND_MS


def _retention_pause(has_more: object) -> float:
    return DRAIN_PAUSE_SECONDS if has_more else CLEAN_SECONDS


def _webhooks_pause(has_more: object) -> float:
    return 0.0 if has_more else WEBHOOKS_SECONDS


def _write_back_pause(written: object) -> float:
    return 0.0 if written else WRITE_BACK_SECONDS


def _drain_pause(committed: object) -> float:
    """Go on at once while there is plenty, soon while there is some."""
    if not isinstance(committed, int) or not committed:
        return DRAIN_PAUSE_IDLE_SECONDS
    return 0.0 if committed >= BATCH_MAX else DRAIN_PAUSE_SECONDS
