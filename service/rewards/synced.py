"""Append rewards to the outbox and sync it, once for all who appended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.domain.reward import Reward
from service.errors import OutboxUnavailableError
from service.store.ports import Outbox

# A disk that takes longer is taken for one that hangs.
SYNC_SECONDS_MAX = 2.0


class SyncedOutbox:
    """Holds nobody for longer than a sync may take, and never more than one thread."""

    def __init__(self, outbox: Outbox, seconds_max: float = SYNC_SECONDS_MAX) -> None:
        self._outbox = outbox
        self._seconds_max = seconds_max
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._began = 0.0

    async def put(self, rewards: Sequence[Reward]) -> None:
        """Make rewards survive a power cut; raises `OutboxUnavailableError`.

        They may survive all the same then: whoever reports them again is told so by the ledger.
        """
        if self._hangs():
            raise OutboxUnavailableError("the outbox is not synced in time")
        self._outbox.append(rewards)
        sync = self._following()
        done, _ = await asyncio.wait({sync}, timeout=self._seconds_max)
        if not done:
            raise OutboxUnavailableError("the outbox is not synced in time")
        sync.result()

    def _hangs(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._running is not None and now - self._began > self._seconds_max

    def _following(self) -> asyncio.Task[None]:
        """Return a sync that begins after now: one under way may have missed what was appended."""
        if self._next is None:
            self._next = asyncio.create_task(self._sync(self._running))
            self._next.add_done_callback(_forget)
        return self._next

    async def _sync(self, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                # It fails for those as well who appended before its end: what it has not brought
                # to the disk the system may have given up.
                await before
        except Exception:
            self._next = None
            raise
        self._running, self._next = self._next, None
        self._began = asyncio.get_running_loop().time()
        try:
            await asyncio.to_thread(self._outbox.sync)
        finally:
            self._running = None


def _forget(sync: asyncio.Task[None]) -> None:
    """Read a sync's outcome, so that nobody complains when all who waited have gone."""
    if not sync.cancelled():
        sync.exception()
