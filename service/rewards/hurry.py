"""Rewards whose callers wait for less time than SQL may take, under one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from service.domain.reward import Reward, RewardStatus

# Syncing the outbox takes about as long as a commit: whoever waits for less gains nothing by it.
PATIENCE_SECONDS_MIN = 0.02
# Those who run out of time so soon after one another share an append and a sync.
TOGETHER_SECONDS = 0.002


class Waiting(Struct, gc=False):
    """A reward whose caller waits; `since_ms` is monotonic."""

    reward: Reward
    done: asyncio.Future[RewardStatus]
    since_ms: int
    is_queued: bool = False  # Safe in the outbox: SQL need not be asked any more.


class Hurry:
    """Queues whoever runs out of time, and leaves the transaction that they are in alone."""

    def __init__(self, queue: Callable[[list[Waiting]], Coroutine[Any, Any, None]]) -> None:
        self._queue = queue
        self._waiting: list[tuple[float, Waiting]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    def add(self, waiting: Waiting, deadline: float) -> None:
        """Watch one until it is done or out of time."""
        at = max(deadline, asyncio.get_running_loop().time() + PATIENCE_SECONDS_MIN)
        self._waiting.append((at, waiting))
        self._set_timer(at)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + TOGETHER_SECONDS
        waiting = [each for each in self._waiting if not each[1].done.done()]
        self._waiting = [each for each in waiting if each[0] > now]
        if self._waiting:
            self._set_timer(min(at for at, _ in self._waiting))
        if due := [each for at, each in waiting if at <= now]:
            task = asyncio.create_task(self._queue(due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
