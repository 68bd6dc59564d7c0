"""The one clock: every time in the service is asked of it, in milliseconds since the Unix epoch."""

from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Clock(Protocol):
    """What tells the time; tests pass a frozen one."""

    def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch; somebody may set it back or ahead."""
        ...

    def monotonic_ms(self) -> int:
        """Return milliseconds since some moment; nobody can set it, so pauses are timed by it."""
        ...
