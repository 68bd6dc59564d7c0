"""Let in what can be answered in time: limits on work in flight that follow the loop's lag."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from time import thread_time
from typing import Protocol

from service.errors import OverloadedError

TICK_SECONDS = 0.02  # How often the lag of the event loop is looked at.
# The processor is short when the loop lags so much, or works so much of the time, on average; a
# share of each look goes into it.
SHORT_LAG_SECONDS, SHORT_BUSY_SHARE, LOOK_SHARE = 0.005, 0.85, 0.1
CUT = 0.75
GROWTH = 1.05
# Of the places, what one call may take and what calls of many units may take together: a send
# of 10,000 must be let in at any time, and must not keep single choices out.
LARGEST_SHARE, LARGE_ONES_SHARE = 0.25, 0.75
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 1, 3  # Apart, so that they do not come back together.


class Priority(IntEnum):
    """Who is let in while not all can be: rewards before choices before reports and exports.

    Of choices, a template's single one goes before a whole send, which its system can repeat.
    """

    REWARD = 0
    CHOOSE = 1
    SEND = 2
    REPORT = 3
    EXPORT = 4


class Sheds(Protocol):
    """What counts refused requests and shows the limits."""

    def shed(self, priority: str) -> None:
        """Count a request that was not let in."""
        ...

    def in_flight(self, priority: str, count: int, limit: int) -> None:
        """Show how much is under way, and how much may be."""
        ...


class Limit:
    """How much of one priority may be under way while the processor is short, and else.

    It is short when the loop lags a little all the time, or hardly rests. Then a mean latency above
    `seconds_max` cuts the places by a quarter of what is under way, and the next cut waits for
    what was let in before this one. So does a loop that lags much, twice in a row: once may
    have been a machine that stood still, and is over. Otherwise the places grow by a twentieth a
    look, used or not: there must be room for requests that pile up because Redis or SQL hangs,
    which is no reason to refuse them.
    """

    __slots__ = (
        "_ceiling",
        "_count",
        "_floor",
        "_lagged",
        "_looks_to_wait",
        "_seconds",
        "in_flight",
        "places",
        "seconds_max",
    )

    def __init__(self, *, floor: int, ceiling: int, seconds_max: float) -> None:
        self._floor = floor
        self._ceiling = ceiling
        self.seconds_max = seconds_max
        self.places = float(ceiling)
        self.in_flight = 0
        self._count = 0
        self._seconds = 0.0
        self._lagged = False
        self._looks_to_wait = 0

    def weight(self, size: int) -> int:
        """Return how many places a call of a size takes: never so many that it is never let in."""
        return 1 if size <= 1 else max(1, min(size, int(self.places * LARGEST_SHARE)))

    def has_room(self, weight: int = 1) -> bool:
        """Whether a call is let in; large ones leave a share of the places to single ones."""
        if weight == 1:
            return self.in_flight < self.places
        return self.in_flight + weight <= self.places * LARGE_ONES_SHARE

    def leave(self, weight: int, seconds: float) -> None:
        """Give the places of a call back, which took so long."""
        self.in_flight -= weight
        self._count += 1
        self._seconds += seconds

    def look(self, lag_seconds: float, *, is_short: bool) -> None:
        """Adapt to the lag that the loop has now, and to what calls took since the last look."""
        lags = lag_seconds > self.seconds_max
        mean = self._seconds / self._count if self._count else 0.0
        self._count, self._seconds = 0, 0.0
        self._looks_to_wait = max(0, self._looks_to_wait - 1)
        if (lags and self._lagged) or (is_short and mean > self.seconds_max):
            if not self._looks_to_wait:
                self.places = max(self._floor, min(self.places, self.in_flight) * CUT)
                self._looks_to_wait = int(mean / (TICK_SECONDS + lag_seconds))
        elif not lags:
            self.places = min(self._ceiling, self.places * GROWTH + 1)
        self._lagged = lags


class Admission:
    """Bounds the work in flight of this process by priority; health is never refused.

    The lag of the event loop is what all requests wait for before anything is done for them. It
    says that the processor is short, and not that Redis or SQL is slow: that has other answers
    (fallback decisions, queued rewards), which need no refusals.
    """

    def __init__(self, sheds: Sheds) -> None:
        self._sheds = sheds
        # Reports give way first: they can be asked for again. An e-mail template waits 2 s for
        # a choice, so a fifth of a second is still in time. What the floors let in takes some
        # 30 ms: the least that keeps the processor busy, and what a stall may cut down to.
        self._limits = {
            Priority.REWARD: Limit(floor=128, ceiling=8_192, seconds_max=0.300),
            Priority.CHOOSE: Limit(floor=128, ceiling=2_048, seconds_max=0.200),
            # Few at once: hundreds of sends under way fit no cache, and take half as long again.
            Priority.SEND: Limit(floor=64, ceiling=1_024, seconds_max=0.100),
            Priority.REPORT: Limit(floor=2, ceiling=16, seconds_max=0.080),
            Priority.EXPORT: Limit(floor=1, ceiling=4, seconds_max=0.080),
        }
        self._expected_at = 0.0
        self._usual_lag = 0.0
        self._usually_busy = 0.0
        self._worked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._refusals = 0

    def limit(self, priority: Priority) -> Limit:
        """Return the limit of a priority, to enter and leave by hand on the hot path."""
        return self._limits[priority]

    def refuse(self, priority: Priority) -> OverloadedError:
        """Count a refusal and return what the caller is told."""
        self._sheds.shed(priority.name.lower())
        self._refusals += 1
        spread = RETRY_SECONDS_MAX - RETRY_SECONDS_MIN + 1
        # Neighbours in time are sent apart; no dice needed for that.
        seconds = RETRY_SECONDS_MIN + self._refusals % spread
        return OverloadedError("too much is asked at once; try again", seconds)

    def start(self) -> None:
        """Look at the loop's lag from now on."""
        loop = asyncio.get_running_loop()
        self._worked = thread_time()
        self._expected_at = loop.time() + TICK_SECONDS
        self._timer = loop.call_at(self._expected_at, self._tick, loop)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        lag = now - self._expected_at
        worked = thread_time()
        busy = (worked - self._worked) / (TICK_SECONDS + lag)
        self._worked = worked
        self._usual_lag += (lag - self._usual_lag) * LOOK_SHARE
        self._usually_busy += (busy - self._usually_busy) * LOOK_SHARE
        is_short = self._usual_lag > SHORT_LAG_SECONDS or self._usually_busy > SHORT_BUSY_SHARE
        for priority, limit in self._limits.items():
            limit.look(lag, is_short=is_short)
            self._sheds.in_flight(priority.name.lower(), limit.in_flight, int(limit.places))
        self._expected_at = now + TICK_SECONDS
        self._timer = loop.call_at(self._expected_at, self._tick, loop)
