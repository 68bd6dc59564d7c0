"""The promises about erasing units and about how long they are kept; all stores keep them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from service.domain.access import AdminAct
from service.domain.erasure import Erasure


class Expired(Struct, frozen=True):
    """What one step of the retention did: `until_ms` is how far nothing is left to wipe."""

    rows: int
    until_ms: int


class ErasureStore(Protocol):
    """Requests to erase a unit, and the wiping of the ledger's rows; no row is ever deleted."""

    async def request(self, erasure: Erasure, act: AdminAct) -> None:
        """Insert a request and its act in one transaction."""
        ...

    async def get(self, tenant: int, erasure_id: str) -> Erasure:
        """Return a tenant's request, or raise `ErasureNotFoundError`."""
        ...

    async def pending(self) -> list[Erasure]:
        """Return the requests of all tenants that are not done, oldest first."""
        ...

    async def erase(self, erasures: Sequence[Erasure]) -> int:
        """Wipe the decisions that requests concern, in one pass over the ledger.

        Evidence, rewards and keys stay, so that a recount finds no difference and a decision is
        still counted once. The keys are remembered until `forget`.

        Parameters
        ----------
        erasures
            Their `rows` grow by what each of them wiped.

        Returns
        -------
        int
            How many decisions were wiped; they may be many more than fit one transaction.

        Raises
        ------
        LedgerUnavailableError
            SQL is down or late; what was wiped stays so, and the rest may be tried again.
        """
        ...

    async def wait_for(self, erasure_id: str, segments: Sequence[str]) -> None:
        """Note the outbox files that must be gone before a request can be done."""
        ...

    async def committed_segments(self) -> set[str]:
        """Return the outbox files of all machines that SQL knows to exist."""
        ...

    async def forget(self, erasure: Erasure) -> None:
        """Wipe ids of events that tell the unit, then the unit in the request and its keys.

        An `event_id` becomes a random one, so that (key, event, event_id) stays unique.
        """
        ...

    async def scrub(self) -> bool:
        """Overwrite what the database's own files keep of wiped rows; False: try again later."""
        ...

    async def finish(self, erasure_id: str, at_ms: int) -> None:
        """Note that a request is done."""
        ...


class RetentionStore(Protocol):
    """The wiping of what is older than may be kept."""

    async def watermark_ms(self) -> int:
        """Return up to when decisions were wiped; 0 at first."""
        ...

    async def expire(self, since_ms: int, before_ms: int, count: int) -> Expired:
        """Wipe unit and context of decisions made in a time, oldest first; move the watermark.

        Parameters
        ----------
        since_ms, before_ms
            From when on, and before when.
        count
            The most of each table in one transaction.
        """
        ...


class Quarantine(Protocol):
    """The files of records that the ledger could not take; calls block for the disk."""

    def erase(self, erasures: Sequence[Erasure]) -> int:
        """Wipe what tells the units, or remove the file; return how many files changed."""
        ...

    def expire(self, before_ms: int) -> int:
        """Remove files put aside before a time; return how many."""
        ...
