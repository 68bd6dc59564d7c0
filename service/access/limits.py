"""How much a key may do a second: a bucket that fills by itself and may be driven into debt."""

from __future__ import annotations

from service.domain.clock import SECOND_MS, Clock
from service.errors import RateLimitedError


class RateLimit:
    """Lets a call in while the bucket holds anything at all, however much the call takes.

    A call is charged as one before it is read, and the rest of a batch once that is decoded;
    whoever takes more than there is waits until the debt is paid. Holds for this process alone.
    """

    __slots__ = ("_at_ms", "_capacity", "_clock", "_per_ms", "_tokens")

    def __init__(self, rate: float, clock: Clock) -> None:
        self._per_ms = rate / SECOND_MS
        self._capacity = max(rate, 1.0)
        self._tokens = self._capacity
        self._clock = clock
        self._at_ms = clock.monotonic_ms()

    def take(self, count: int) -> None:
        """Charge a call; raises `RateLimitedError` when it has to wait."""
        now_ms = self._clock.monotonic_ms()
        filled = self._tokens + (now_ms - self._at_ms) * self._per_ms
        self._tokens = tokens = min(filled, self._capacity)
        self._at_ms = now_ms
        if tokens <= 0:
            raise RateLimitedError(
                "this key's rate limit is used up",
                retry_after_seconds=(1.0 - tokens) / self._per_ms / SECOND_MS,
            )
        self._tokens = tokens - count

    def owe(self, count: int) -> None:
        """Charge what a call that was let in turned out to hold besides."""
        self._tokens -= count
