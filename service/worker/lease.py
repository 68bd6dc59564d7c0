"""The lease that lets one of several workers do what needs doing once."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from service.errors import LedgerUnavailableError
from service.logs import logger
from service.store.ports import LeaseStore

LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0

_log = logger(__name__)


class Lease:
    """Holds or waits for a lease; losing it only wastes work, for correctness rests elsewhere."""

    def __init__(self, store: LeaseStore, name: str, holder: str) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._held_until = 0.0
        self._was_held = False

    @property
    def is_held(self) -> bool:
        """Whether it was renewed within its time."""
        return perf_counter() < self._held_until

    async def turn(self) -> None:
        """Take or renew it; while SQL is down it runs out."""
        asked_at = perf_counter()
        # While SQL is down nobody else can take it either.
        with suppress(LedgerUnavailableError):
            taken = await self._store.acquire(self._name, self._holder, LEASE_SECONDS)
            self._held_until = asked_at + LEASE_SECONDS if taken else 0.0
        if self.is_held != self._was_held:
            self._was_held = self.is_held
            _log.info("lease_taken" if self._was_held else "lease_lost", lease=self._name)

    async def release(self) -> None:
        """Give it back, so that another worker need not wait for its end."""
        self._held_until = 0.0
        await self._store.release(self._name, self._holder)
