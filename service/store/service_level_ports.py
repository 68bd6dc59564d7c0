"""The promises about counts of answers, from which service levels come; all stores keep them."""

from __future__ import annotations

from typing import Protocol

from service.domain.service_levels import Counts, LevelFlush


class ServiceLevelStore(Protocol):
    """Counts of answers by stretch of time, summed over all processes."""

    async def add(self, flush: LevelFlush) -> bool:
        """Add what a process counted, in one transaction.

        Parameters
        ----------
        flush
            A writer's flushes come in the order of their sequence, each until it is taken.

        Returns
        -------
        bool
            False if this flush was added before and changed nothing now.

        Raises
        ------
        LedgerUnavailableError
            SQL is down or late; the flush may have been added all the same, and can be sent again.
        """
        ...

    async def sums(self, span_ms: int, since_ms: int, until_ms: int | None = None) -> Counts:
        """Return the sums of the stretches of one length that began in a time.

        Parameters
        ----------
        span_ms
            The length of the stretches: a minute's or an hour's.
        since_ms
            Those that began at this time or before are left out.
        until_ms
            So are those that began after this time; none are if it is None.

        Raises
        ------
        LedgerUnavailableError
            SQL cannot be read now.
        """
        ...

    async def forget(self, span_ms: int, before_ms: int) -> int:
        """Delete the stretches of one length that began before a time; return how many rows went.

        With the hours go the writers that were not heard of since then.
        """
        ...
