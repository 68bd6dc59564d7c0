"""Record decisions before they are told: in the outbox, or in the ledger when that is full."""

from __future__ import annotations

import asyncio

from service.domain.clock import SECOND_MS, Clock
from service.domain.decision import Decision
from service.errors import LedgerUnavailableError, OutboxUnavailableError
from service.metrics import Metrics
from service.sla import CHOOSE_SQL_DEADLINE_MS
from service.store.ports import Ledger, Outbox
from service.store.records import LedgerOutcome

# After SQL missed the deadline, nobody waits for it for so long: with no outbox either, an early
# 503 leaves a mail's template the time to ask another process.
LEDGER_PAUSE_MS = SECOND_MS
_REFUSAL = "decisions cannot be recorded now"


class Recording:
    """The outbox of this process, and behind it the ledger."""

    def __init__(self, outbox: Outbox, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._paused_until_ms = 0

    async def record(self, decisions: list[Decision]) -> None:
        """Record them, or raise `OutboxUnavailableError` when neither takes them."""
        try:
            self._outbox.append(decisions)
        except OutboxUnavailableError:
            self._metrics.outbox_failed("choice")
            await self._commit(decisions)

    async def _commit(self, decisions: list[Decision]) -> None:
        """Commit under a deadline; a late transaction may still commit: nobody was told of it."""
        if self._clock.monotonic_ms() < self._paused_until_ms:
            raise OutboxUnavailableError(_REFUSAL)
        commit = asyncio.create_task(self._ledger.append(decisions, []))
        done, _ = await asyncio.wait({commit}, timeout=CHOOSE_SQL_DEADLINE_MS / SECOND_MS)
        commit.add_done_callback(_forget)
        if not done:
            self._paused_until_ms = self._clock.monotonic_ms() + LEDGER_PAUSE_MS
            raise OutboxUnavailableError(_REFUSAL)
        failure = commit.exception()
        if isinstance(failure, LedgerUnavailableError):  # At once: nobody waits for it.
            raise OutboxUnavailableError(_REFUSAL) from failure
        if failure is not None:
            raise failure


def _forget(late: asyncio.Task[LedgerOutcome]) -> None:
    """Read a late transaction's outcome, so that nobody complains it was never retrieved."""
    if not late.cancelled():
        late.exception()
