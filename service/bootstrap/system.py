"""The clock and the dice of a running process; tests pass their own."""

from __future__ import annotations

import secrets
import time

_NANOSECONDS_PER_MS = 1_000_000
_JITTER_STEPS = 1_000


class SystemClock:
    """Tells the machine's time."""

    def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return time.time_ns() // _NANOSECONDS_PER_MS

    def monotonic_ms(self) -> int:
        """Return milliseconds since the machine was started."""
        return time.monotonic_ns() // _NANOSECONDS_PER_MS


def nonce() -> str:
    """Return 96 bits that nobody can guess or meet twice."""
    return secrets.token_urlsafe(12)


def jitter() -> float:
    """Return a number from 0 to 1."""
    return secrets.randbelow(_JITTER_STEPS + 1) / _JITTER_STEPS
