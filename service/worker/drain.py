"""Bring the outbox into the ledger: every segment, whoever wrote it, each record exactly once.

Rewards that are in the ledger already are passed over, as long as it shows that it still has them.
One that fails over to an older state lacks some, or is not where a segment was left: then it is
given again what it lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from service.allocations.traces import Traces
from service.domain.clock import HOUR_MS, SECOND_MS, Clock
from service.domain.decision import Decision
from service.errors import (
    LedgerUnavailableError,
    LedgerWentBackError,
    PoisonRecordError,
    PositionMovedError,
)
from service.logs import logger
from service.metrics import Metrics
from service.store.outbox_ports import OutboxReader
from service.store.ports import Ledger
from service.store.records import Chunk, LedgerOutcome, Segment
from service.worker.progress import Load, Progress

KEEP_DRAINED_MS = HOUR_MS  # So far may SQL go back, and so long can a person look.
FREE_BYTES_MIN = 64 * 1024 * 1024  # The next segments of four processes.
LOOK_BACK_MS = SECOND_MS  # How often the positions of all segments are compared.

_log = logger(__name__)


# Without an outcome: committed, but the answer that told of it was lost.
Committed = Callable[[list[Decision], LedgerOutcome | None], None]


class Drain:
    """Knows how far every segment is committed; SQL says so, memory tells when it goes back."""

    def __init__(
        self,
        reader: OutboxReader,
        ledger: Ledger,
        clock: Clock,
        metrics: Metrics,
        traces: Traces | None = None,
        committed: Committed | None = None,
    ) -> None:
        """`traces` is told what is drained, and `committed` what was."""
        self._traces = traces or Traces()
        self._reader = reader
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._committed = committed
        self._progress: dict[str, Progress] = {}
        self._looked_back_ms: int | None = None
        self._owes_renewal = False
        self._is_ledger_there = True

    async def turn(self) -> int:
        """Commit at most one batch of every segment; return how many records were dealt with.

        Raises `LedgerUnavailableError` when SQL takes none now.
        """
        segments = self._reader.segments()
        try:
            await self._look_back([segment.name for segment in segments])
            dealt_with = await self._advance_all(segments)
        except LedgerUnavailableError:
            self._metrics.ledger_failed()
            self._note_ledger(is_there=False)
            raise
        if dealt_with:
            self._note_ledger(is_there=True)
        self._forget_gone({segment.name for segment in segments})
        return dealt_with

    def ends(self) -> dict[str, int]:
        """Return where each segment ends now."""
        return self._reader.ends()

    def has_reached(self, ends: dict[str, int]) -> bool:
        """Whether everything up to there is committed; a segment that is gone was."""
        known = ((self._progress.get(name), end) for name, end in ends.items())
        return all(progress is None or progress.committed >= end for progress, end in known)

    def measure(self) -> None:
        """Tell the metrics what is not committed yet."""
        backlog = self._reader.backlog({name: p.read for name, p in self._progress.items()})
        self._metrics.outbox_backlog(backlog["bytes"], backlog["age_seconds"])

    async def clean(self) -> None:
        """Delete closed segments that were drained long enough ago, if SQL still says so."""
        before_ms = self._clock.now_ms() - KEEP_DRAINED_MS
        names = [s.name for s in self._finished() if s.modified_at_ms < before_ms]
        # Written long ago, perhaps, but drained just now: SQL knows, however often we began anew.
        stored = await self._ledger.settled_positions(names, KEEP_DRAINED_MS)
        for name in names:
            progress = self._progress.get(name)
            if progress is not None and stored.get(name, 0) >= progress.committed:
                self._retire(name)
        for name in self._reader.retired():  # Those too that a worker left which was killed here.
            await self._ledger.forget_segment(name)
            self._reader.remove(name)

    async def make_room(self) -> None:
        """Give up drained segments before their time, the oldest first, while space is short.

        Without space no choice is answered once SQL is away; they only help where SQL goes back.
        """
        for segment in self._finished():
            if self._reader.free_bytes() >= FREE_BYTES_MIN:
                return
            self._retire(segment.name)
            self._metrics.removed_early()
            _log.warning("segment_removed_early", segment=segment.name)

    def _finished(self) -> Iterator[Segment]:
        for segment in self._reader.segments():
            progress = self._progress.get(segment.name)
            if segment.is_closed and progress is not None and progress.is_finished:
                yield segment

    def _retire(self, name: str) -> None:
        self._reader.retire(name)
        del self._progress[name]

    async def _look_back(self, names: Sequence[str]) -> None:
        """Compare all segments with SQL, the finished ones too: nothing else would ever ask."""
        now_ms = self._clock.monotonic_ms()
        if self._looked_back_ms is None or now_ms - self._looked_back_ms >= LOOK_BACK_MS:
            stored = await self._ledger.positions(names)
            self._looked_back_ms = now_ms
            self._compare(names, stored)
        if self._owes_renewal:
            # Whoever holds evidence of the state that is gone must see that it is not this one's,
            # even where new rows have carried the revision past the old one.
            await self._ledger.renew_revisions(self._clock.now_ms(), list(self._traces.named))
            self._owes_renewal = False

    def _compare(self, names: Sequence[str], stored: Mapping[str, int]) -> None:
        for name in names:
            place = stored.get(name, 0)
            progress = self._progress.setdefault(name, Progress(place))
            if place < progress.committed:
                self._went_back(name, progress.committed, place)
                progress.go_to(place)

    def _went_back(self, name: str, known: int, found: int) -> None:
        if all(segment.name != name for segment in self._reader.segments()):
            return  # Another worker on this directory has deleted it.
        self._metrics.ledger_went_back()
        _log.error("ledger_went_back", segment=name, known=known, found=found)
        self._owes_renewal = True
        self._traces.losses += 1

    async def _advance_all(self, segments: Sequence[Segment]) -> int:
        """Advance every segment; one that cannot be read never stops the others."""
        dealt_with = 0
        failure: Exception | None = None
        for segment in segments:
            try:
                dealt_with += await self._advance(segment)
            except LedgerUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  A bad sector, a full quarantine, a bug.
                failure = failure or error
        if failure is not None and not dealt_with:
            raise failure  # Said, and waited for, once there is nothing else to do.
        return dealt_with

    async def _advance(self, segment: Segment) -> int:
        progress = self._progress.get(segment.name)
        if progress is None:
            position = await self._ledger.position(segment.name)
            progress = self._progress.setdefault(segment.name, Progress(position))
        if progress.is_finished:
            return 0
        chunk = self._reader.read(segment, progress.read, progress.batch)
        if chunk.next_offset > progress.read:
            await self._take(segment.name, progress, chunk)
            return max(1, len(chunk.records))
        is_complete = segment.is_closed and chunk.is_end
        if progress.is_ahead and (is_complete or progress.is_late(self._clock.monotonic_ms())):
            await self._commit(segment.name, progress, Load([], [], []), chunk)
        elif is_complete:
            progress.is_finished = True
        return 0

    async def _take(self, name: str, progress: Progress, chunk: Chunk) -> None:
        now_ms = self._clock.monotonic_ms()
        load = progress.load(chunk)
        if progress.may_wait(load, chunk, now_ms):
            progress.wait(load, chunk, now_ms)
        else:
            await self._commit(name, progress, load, chunk)

    async def _commit(self, name: str, progress: Progress, load: Load, chunk: Chunk) -> None:
        """Commit a chunk, or find out why the ledger does not take it; the next turn goes on."""
        try:
            await self._commit_or_narrow(name, progress, load, chunk)
        except PositionMovedError:
            stored = await self._ledger.position(name)
            if stored < progress.committed:
                self._went_back(name, progress.committed, stored)
            elif self._committed is not None:
                self._committed(load.decisions, None)
            progress.go_to(stored)
        except LedgerWentBackError:
            self._went_back(name, chunk.next_offset, progress.committed)
            progress.mend(chunk.next_offset)

    async def _commit_or_narrow(
        self, name: str, progress: Progress, load: Load, chunk: Chunk
    ) -> None:
        """Commit; when the ledger refuses a record, halve the batch until that one is alone."""
        position = progress.position(name, load, chunk)
        self._traces.note(load.decisions)
        try:
            outcome = await self._ledger.append(load.decisions, load.rewards, position)
        except PoisonRecordError as error:
            if len(chunk.records) > 1:
                progress.batch = len(chunk.records) // 2
                return
            self._reader.quarantine(name, chunk.records[0], type(error).__name__)
            self._metrics.quarantined()
            _log.error("record_quarantined", segment=name, reason=str(error))
            await self._ledger.append([], [], position)
        else:
            self._count(name, load, chunk, outcome)
        progress.commit(chunk.next_offset)

    def _count(self, name: str, load: Load, chunk: Chunk, outcome: LedgerOutcome) -> None:
        decisions = load.decisions
        self._metrics.drained("decision", len(decisions))
        self._metrics.drained("reward", len(load.rewards))
        if chunk.damaged:
            self._metrics.damaged(chunk.damaged)
            _log.error("records_damaged", segment=name, count=chunk.damaged)
        if decisions:
            lag_ms = self._clock.now_ms() - decisions[-1].decided_at_ms
            self._metrics.committed(max(0, lag_ms) / SECOND_MS, outcome.conflicts)
            if self._committed is not None:
                self._committed(decisions, outcome)
        if outcome.conflicts:
            _log.warning("conflicting_answers", count=outcome.conflicts)

    def _forget_gone(self, names: set[str]) -> None:
        for name in [name for name in self._progress if name not in names]:
            del self._progress[name]

    def _note_ledger(self, *, is_there: bool) -> None:
        if is_there != self._is_ledger_there:
            _log.warning("ledger_back" if is_there else "ledger_unavailable_nothing_learned")
            self._is_ledger_there = is_there
