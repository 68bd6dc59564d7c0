"""Tell Redis the answers that were given without it: a later retry gets the same one.

After an outage that lost nothing nobody restores the replay memory, and it has never heard of them.
Nor has it of answers from before a loss that were committed only after Redis had been restored.
What is owed stands in the ledger: whoever starts looks it up there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from service.domain.clock import Clock
from service.domain.decision import UNCONFIRMED_SOURCES, Decision
from service.domain.limits import NONCE_MARK
from service.errors import RedisUnavailableError
from service.metrics import Metrics
from service.store.ports import Ledger, PublishedAllocations, ReplayMemory
from service.store.records import Cursor, LedgerOutcome
from service.worker.restore import REPLAYS_REACH_MS

BATCH_MAX = 500  # Decisions of one script call.
OWED_MAX = 50_000  # What memory holds of a long outage; the rest is read from the ledger.
PAGE = 2_000


@dataclass(slots=True)
class _Scan:
    """What is still to be read from the ledger, the newest first, down to a time."""

    since_ms: int
    is_whole: bool  # Or only what may have been answered without Redis.
    before: Cursor | None = None


class WriteBack:
    """Holds what Redis is owed until it takes it; then the ledger's first answers stand there."""

    def __init__(
        self,
        replays: ReplayMemory,
        ledger: Ledger,
        published: PublishedAllocations,
        clock: Clock,
        metrics: Metrics,
        owed_max: int = OWED_MAX,
    ) -> None:
        """Ask `published` whether Redis is there, and whether it has lost its memory."""
        self._owed_max = owed_max
        self._replays = replays
        self._ledger = ledger
        self._published = published
        self._clock = clock
        self._metrics = metrics
        self._owed: dict[bytes, Decision | None] = {}  # None: the ledger knows which.
        # Whatever a worker before this one had in memory is gone.
        self._scans = [_Scan(clock.now_ms() - REPLAYS_REACH_MS, is_whole=False)]
        self._epoch: str | None = None
        self._lost_ms = clock.now_ms()  # A loss may have been noticed by another worker.
        self._doubtful_since_ms: int | None = None

    @property
    def owes(self) -> bool:
        """Whether something is in memory that Redis has not taken."""
        return bool(self._owed)

    def note(self, decisions: Iterable[Decision], outcome: LedgerOutcome | None) -> None:
        """Take what is committed; without an outcome nobody knows which answers came first."""
        for decision in decisions:
            if decision.occasion.startswith(NONCE_MARK):
                continue  # Redis is never asked for those.
            is_first = outcome is not None and decision.key not in outcome.differing
            at_ms = decision.decided_at_ms
            if not is_first or _is_unconfirmed(decision) or at_ms < self._lost_ms:
                self._owe(decision, is_first=is_first)
            elif self._doubtful_since_ms is None or at_ms < self._doubtful_since_ms:
                self._doubtful_since_ms = at_ms

    async def turn(self) -> int:
        """Write at most one batch or page; return how many were looked at."""
        try:
            await self._look_at_redis()
            if self._owed:
                return await self._write_owed()
            if self._scans:
                return await self._go_on(self._scans[0])
        except RedisUnavailableError:
            pass  # It stays owed; should Redis have lost its memory, it is restored whole.
        return 0

    async def _look_at_redis(self) -> None:
        """Notice a loss: a restoration that is under way may have passed what was just committed.

        Without one Redis still has what it confirmed. One that begins later reads it all.
        """
        doubtful_since_ms, self._doubtful_since_ms = self._doubtful_since_ms, None
        try:
            epoch = await self._published.epoch()
        except RedisUnavailableError:
            self._doubt(doubtful_since_ms)
            raise
        if epoch != self._epoch:
            self._epoch = epoch
            self._lost_ms = self._clock.now_ms()
            if doubtful_since_ms is not None:
                self._scan(doubtful_since_ms, is_whole=True)

    def _doubt(self, since_ms: int | None) -> None:
        both = [each for each in (since_ms, self._doubtful_since_ms) if each is not None]
        self._doubtful_since_ms = min(both, default=None)

    def _owe(self, decision: Decision, *, is_first: bool) -> None:
        key = decision.key
        if len(self._owed) < self._owed_max or key in self._owed:
            self._owed[key] = _slim(decision) if is_first else None
        else:
            is_whole = not is_first or not _is_unconfirmed(decision)
            self._scan(decision.decided_at_ms, is_whole=is_whole)

    def _scan(self, since_ms: int, *, is_whole: bool) -> None:
        for scan in self._scans:
            if scan.is_whole == is_whole and scan.before is None:
                scan.since_ms = min(scan.since_ms, since_ms)
                return
        self._scans.append(_Scan(since_ms, is_whole))

    async def _write_owed(self) -> int:
        batch = dict(list(self._owed.items())[:BATCH_MAX])
        unsure = [key for key, decision in batch.items() if decision is None]
        firsts = await self._ledger.first_decisions(unsure) if unsure else []
        await self._write([*firsts, *(d for d in batch.values() if d is not None)])
        for key, decision in batch.items():
            if self._owed.get(key) is decision:  # Else a later commit knows better.
                del self._owed[key]
        return len(batch)

    async def _go_on(self, scan: _Scan) -> int:
        """Write a page of the ledger."""
        ledger = self._ledger
        read = ledger.recent_decisions if scan.is_whole else ledger.unconfirmed_decisions
        since_ms = scan.since_ms
        page, before = await read(since_ms, scan.before, PAGE)
        owed = [d for d in page if not d.occasion.startswith(NONCE_MARK)]
        for start in range(0, len(owed), BATCH_MAX):
            await self._write(owed[start : start + BATCH_MAX])
        if before is not None:
            scan.before = before
        elif scan.since_ms == since_ms:
            self._scans.remove(scan)
        return len(page)

    async def _write(self, decisions: list[Decision]) -> None:
        await self._replays.restore(decisions)
        self._metrics.written_back(len(decisions))


def _is_unconfirmed(decision: Decision) -> bool:
    return decision.source in UNCONFIRMED_SOURCES


def _slim(decision: Decision) -> Decision:
    """Return what a replay needs of it: contexts are large, and units are nobody's here."""
    return replace(decision, unit="", occasion="", context=None, eligible=None)
