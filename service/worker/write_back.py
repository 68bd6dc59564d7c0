"""Tell Redis the answers that were given without it: a later retry gets the same one.

After an outage that lost nothing nobody restores the replay memory, and it has never heard of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.domain.decision import Decision, Source
from service.domain.limits import NONCE_MARK
from service.errors import RedisUnavailableError
from service.metrics import Metrics
from service.store.ports import Ledger, ReplayMemory
from service.store.records import Cursor, LedgerOutcome

BATCH_MAX = 500  # Decisions of one script call.
OWED_MAX = 50_000  # What memory holds of a long outage; the rest is read from the ledger.
PAGE = 5_000


class WriteBack:
    """Holds what Redis is owed until it takes it; then the ledger's first answers stand there."""

    def __init__(
        self, replays: ReplayMemory, ledger: Ledger, metrics: Metrics, owed_max: int = OWED_MAX
    ) -> None:
        self._owed_max = owed_max
        self._replays = replays
        self._ledger = ledger
        self._metrics = metrics
        self._owed: dict[bytes, Decision | None] = {}  # None: the ledger knows which.
        self._unread_since_ms: int | None = None

    def note(self, decisions: Iterable[Decision], outcome: LedgerOutcome) -> None:
        """Take what the drain has just committed."""
        differing = outcome.differing
        for decision in decisions:
            if decision.source != Source.fallback and decision.key not in differing:
                continue
            if not decision.occasion.startswith(NONCE_MARK):  # Redis is never asked for those.
                self._owe(decision, is_first=decision.key not in differing)

    async def turn(self) -> int:
        """Write at most one batch; return how many Redis took."""
        try:
            if self._owed:
                return await self._write_owed()
            if self._unread_since_ms is not None:
                return await self._write_unread(self._unread_since_ms)
        except RedisUnavailableError:
            pass  # It stays owed; should Redis have lost its memory, it is restored whole.
        return 0

    def _owe(self, decision: Decision, *, is_first: bool) -> None:
        if len(self._owed) < self._owed_max or decision.key in self._owed:
            self._owed[decision.key] = decision if is_first else None
            return
        since_ms = self._unread_since_ms
        at_ms = decision.decided_at_ms
        self._unread_since_ms = at_ms if since_ms is None else min(since_ms, at_ms)

    async def _write_owed(self) -> int:
        batch = dict(list(self._owed.items())[:BATCH_MAX])
        unsure = [key for key, decision in batch.items() if decision is None]
        firsts = await self._ledger.first_decisions(unsure) if unsure else []
        await self._write([*firsts, *(d for d in batch.values() if d is not None)])
        for key, decision in batch.items():
            if self._owed.get(key) is decision:  # Else a later commit knows better.
                del self._owed[key]
        return len(batch)

    async def _write_unread(self, since_ms: int) -> int:
        """Write the fallback answers of the ledger since a time, the newest first."""
        count = 0
        before: Cursor | None = None
        while True:
            page, before = await self._ledger.recent_decisions(since_ms, before, PAGE)
            owed = [d for d in page if d.source == Source.fallback]
            for start in range(0, len(owed), BATCH_MAX):
                await self._write(owed[start : start + BATCH_MAX])
            count += len(owed)
            if before is None:
                break
        if self._unread_since_ms == since_ms:
            self._unread_since_ms = None
        return count

    async def _write(self, decisions: list[Decision]) -> None:
        await self._replays.restore(decisions)
        self._metrics.written_back(len(decisions))
