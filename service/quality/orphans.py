"""The hunt for orphans: rewards whose decision does not come into the ledger."""

from __future__ import annotations

from collections import deque

from service.domain.clock import MINUTE_MS, SECOND_MS, Clock
from service.store.quality_ports import QualityEvidence

# A choice is in the ledger within seconds; a worker that starts again may take some minutes.
GRACE_MS = 10 * MINUTE_MS
NOTES_EVERY_MS = SECOND_MS
ROWS_AT_ONCE = 2_000
STEPS_MAX = 5


class OrphanHunt:
    """Looks at each reward once, when it has stood in the ledger for a while."""

    def __init__(self, evidence: QualityEvidence, clock: Clock, grace_ms: int = GRACE_MS) -> None:
        self._evidence = evidence
        self._clock = clock
        self._grace_ms = grace_ms
        self._notes: deque[tuple[int, int]] = deque()  # When the newest reward was which.
        self._ripe: int | None = None
        self._done: int | None = None

    async def turn(self) -> None:
        """Look at some rewards; what is left is looked at the next time.

        By our own notes of what was there when, not by the rewards' times: clocks differ.
        """
        now_ms = self._clock.monotonic_ms()
        if not self._notes or now_ms - self._notes[-1][0] >= NOTES_EVERY_MS:
            self._notes.append((now_ms, await self._evidence.newest_reward()))
        while self._notes and now_ms - self._notes[0][0] >= self._grace_ms:
            self._ripe = self._notes.popleft()[1]
        if self._ripe is None or self._ripe == self._done:
            return
        for _ in range(STEPS_MAX):
            if not await self._evidence.tally_orphans(self._ripe, ROWS_AT_ONCE):
                self._done = self._ripe
                return
