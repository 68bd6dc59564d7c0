"""Bring the outbox into the ledger: every segment, whoever wrote it, each record exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.clock import HOUR_MS, SECOND_MS, Clock
from service.domain.decision import Decision
from service.domain.reward import Reward
from service.errors import LedgerUnavailableError, PoisonRecordError
from service.logs import logger
from service.metrics import Metrics
from service.store.ports import Ledger, OutboxReader
from service.store.records import Chunk, LedgerOutcome, OutboxPosition, Segment

BATCH_MAX = 1_000  # Records of one transaction.
KEEP_DRAINED_MS = HOUR_MS  # Until then a drained segment can be read again by a person.

_log = logger(__name__)


class Drain:
    """Knows how far every segment is committed; SQL says so, memory only saves asking."""

    def __init__(
        self, reader: OutboxReader, ledger: Ledger, clock: Clock, metrics: Metrics
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._committed: dict[str, int] = {}
        self._batches: dict[str, int] = {}
        self._finished: set[str] = set()
        self._is_ledger_there = True

    async def turn(self) -> int:
        """Commit at most one batch of every segment; return how many records were dealt with.

        Raises `LedgerUnavailableError` when SQL takes none now.
        """
        segments = self._reader.segments()
        try:
            committed = await self._advance_all(segments)
        except LedgerUnavailableError:
            self._metrics.ledger_failed()
            self._note_ledger(is_there=False)
            raise
        if committed:
            self._note_ledger(is_there=True)
        self._forget_gone({segment.name for segment in segments})
        return committed

    async def _advance_all(self, segments: Sequence[Segment]) -> int:
        """Advance every segment; one that cannot be read never stops the others."""
        committed = 0
        failure: Exception | None = None
        for segment in segments:
            try:
                committed += await self._advance(segment)
            except LedgerUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  A bad sector, a full quarantine, a bug.
                failure = failure or error
        if failure is not None and not committed:
            raise failure  # Said, and waited for, once there is nothing else to do.
        return committed

    def measure(self) -> None:
        """Tell the metrics what is not committed yet."""
        backlog = self._reader.backlog(self._committed)
        self._metrics.outbox_backlog(backlog["bytes"], backlog["age_seconds"])

    async def clean(self) -> None:
        """Delete closed segments that were drained long enough ago."""
        oldest_kept_ms = self._clock.now_ms() - KEEP_DRAINED_MS
        for segment in self._reader.segments():
            if segment.name in self._finished and segment.modified_at_ms < oldest_kept_ms:
                self._reader.remove(segment.name)
                await self._ledger.forget_segment(segment.name)

    async def _advance(self, segment: Segment) -> int:
        if segment.name in self._finished:
            return 0
        offset = await self._offset(segment.name)
        chunk = self._reader.read(segment, offset, self._batches.get(segment.name, BATCH_MAX))
        if chunk.next_offset > offset:
            await self._commit_or_narrow(segment.name, chunk)
            return max(1, len(chunk.records))
        if segment.is_closed and chunk.is_end:
            self._finished.add(segment.name)
        return 0

    async def _offset(self, name: str) -> int:
        if name not in self._committed:
            self._committed[name] = await self._ledger.position(name)
        return self._committed[name]

    async def _commit_or_narrow(self, name: str, chunk: Chunk) -> None:
        """Commit; when the ledger refuses a record, halve the batch until that one is alone."""
        count = len(chunk.records)
        try:
            await self._commit(name, chunk)
        except PoisonRecordError as error:
            if count > 1:
                self._batches[name] = count // 2
                return
            self._reader.quarantine(name, chunk.records[0], type(error).__name__)
            self._metrics.quarantined()
            _log.error("record_quarantined", segment=name, reason=str(error))
            await self._ledger.append([], [], OutboxPosition(name, chunk.next_offset))
            self._committed[name] = chunk.next_offset
        if name in self._batches:
            self._batches[name] = min(BATCH_MAX, 2 * self._batches[name])

    async def _commit(self, name: str, chunk: Chunk) -> None:
        decisions = [record for record in chunk.records if isinstance(record, Decision)]
        rewards = [record for record in chunk.records if isinstance(record, Reward)]
        position = OutboxPosition(name, chunk.next_offset)
        outcome = await self._ledger.append(decisions, rewards, position)
        self._committed[name] = chunk.next_offset
        if chunk.damaged:
            self._metrics.damaged(chunk.damaged)
            _log.error("records_damaged", segment=name, count=chunk.damaged)
        self._count(decisions, rewards, outcome)

    def _count(
        self, decisions: list[Decision], rewards: list[Reward], outcome: LedgerOutcome
    ) -> None:
        self._metrics.drained("decision", len(decisions))
        self._metrics.drained("reward", len(rewards))
        if decisions:
            lag_ms = self._clock.now_ms() - decisions[-1].decided_at_ms
            self._metrics.committed(max(0, lag_ms) / SECOND_MS, outcome.conflicts)
        if outcome.conflicts:
            _log.warning("conflicting_answers", count=outcome.conflicts)

    def _forget_gone(self, names: set[str]) -> None:
        for name in [name for name in self._committed if name not in names]:
            del self._committed[name]
            self._batches.pop(name, None)
            self._finished.discard(name)

    def _note_ledger(self, *, is_there: bool) -> None:
        if is_there != self._is_ledger_there:
            _log.warning("ledger_back" if is_there else "ledger_unavailable_nothing_learned")
            self._is_ledger_there = is_there
