"""Write decisions and rewards to append-only segment files that survive a kill of this process."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import structlog

from service.domain.clock import HOUR_MS, SECOND_MS, Clock
from service.errors import OutboxUnavailableError
from service.store.outbox_frames import (
    HEADER_BYTES,
    ID_BYTES,
    SEGMENT_BYTES,
    frames_of,
    header,
    seed_of,
    segment_name,
)
from service.store.records import Record

SPARE_AT = 0.75  # The share of a segment that is full when the next one is prepared.
ROOM_BYTES = 64 * 1024  # What an outbox that failed must have room for to be writable again.
AGE_MAX_MS = HOUR_MS
RETRY_MS = SECOND_MS  # How long an outbox that failed waits before `is_writable` tries again.
_UNFINISHED_SUFFIX = ".new"
# Between an append and its sync a writer can roll over once; more are kept out of caution.
_UNSYNCED_MAX = 4

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter.

_log = structlog.get_logger(__name__)


class LiveSegment:
    """A locked, preallocated file with one writer; readers take the lock's end for its close."""

    def __init__(self, directory: Path, name: str, identity: bytes, size: int) -> None:
        self.path = directory / name
        self.seed = seed_of(identity)
        self.size = size
        self.written = HEADER_BYTES
        # Readers meet the file only when it is whole and locked: rename comes last.
        unfinished = self.path.with_suffix(_UNFINISHED_SUFFIX)
        self.descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            _take_space(self.descriptor, size)
            self._write_at(0, header(identity))
            unfinished.rename(self.path)
        except OSError:
            os.close(self.descriptor)
            unfinished.unlink(missing_ok=True)
            raise

    def write(self, data: bytes) -> None:
        """Write all of it or raise `OSError`; then `written` has not moved."""
        self._write_at(self.written, data)
        self.written += len(data)

    def has_room_for(self, count: int) -> bool:
        """Whether the space for so many bytes is preallocated."""
        return self.written + count <= self.size

    def close(self) -> None:
        """Cut off what was not written, and let readers see that the segment is complete."""
        with suppress(OSError):  # Readers take the zeros at its end just as well.
            os.ftruncate(self.descriptor, self.written)
        os.close(self.descriptor)

    def _write_at(self, place: int, data: bytes) -> None:
        count = os.pwrite(self.descriptor, data, place)
        if count < len(data):  # The second attempt either ends it or says what is wrong.
            count += os.pwrite(self.descriptor, data[count:], place + count)
        if count < len(data):
            raise OSError(f"wrote {count} of {len(data)} bytes")


class SegmentOutbox:
    """The outbox of one process; any of its threads may append and sync."""

    def __init__(self, directory: Path, clock: Clock, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._sequence = 0
        self._live: LiveSegment | None = None
        self._live_since_ms = 0
        self._spare: LiveSegment | None = None
        self._unsynced: deque[Path] = deque(maxlen=_UNSYNCED_MAX)
        self._synced_sequence = 0  # The newest segment whose name is safe in the directory.
        self._failed_at_ms: int | None = None
        self._spare_failed_at_ms = clock.monotonic_ms() - RETRY_MS
        self._lock = Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_unfinished()
        self._find_room()
        _start_anew_after_fork(self)

    def append(self, records: Sequence[Record], committed: int = 0) -> None:
        """Write records with one call to the system; they survive a kill of this process.

        A failed write is tried once more in a new segment: records that are in both are one in
        the ledger. Raises `OutboxUnavailableError` when that fails too.
        """
        if not records:
            return
        with self._lock:
            tries = (self._try_append(records, committed) for _ in range(2))
            if not any(tries):
                raise OutboxUnavailableError("the outbox cannot be written")
            self._failed_at_ms = None
            if self._live is not None:
                self._prepare_spare(self._live)

    def sync(self) -> None:
        """Make what was appended survive a power cut; blocks for the disk."""
        with self._lock:
            live, sequence, paths = self._live, self._sequence, list(self._unsynced)
            if sequence > self._synced_sequence:
                paths.append(self._directory)
            # A duplicate stays valid, and stays this file, when append rolls over meanwhile.
            duplicate = None if live is None else os.dup(live.descriptor)
        try:
            _sync_all(duplicate, paths)
        except OSError as error:
            with self._lock:
                self._fail("sync", error)
                self._retire()  # Nobody can tell any more what of the file reached the disk.
            raise OutboxUnavailableError("the outbox cannot be synced") from error
        with self._lock:  # Only now: another thread's sync must not skip what this one has begun.
            self._synced_sequence = max(self._synced_sequence, sequence)
            for path in paths:
                with suppress(ValueError):
                    self._unsynced.remove(path)

    def roll_over(self) -> None:
        """Complete a segment that is old: what it tells of people is deleted soon after."""
        with self._lock, suppress(OSError):  # A full disk: space that is there is not given away.
            if self._clock.monotonic_ms() - self._live_since_ms >= AGE_MAX_MS:
                self._go_on_with(self._spare or self._new_segment(0))
                self._spare = None

    @property
    def is_writable(self) -> bool:
        """Whether the last append succeeded, or space for the next one could be made since."""
        failed_at_ms = self._failed_at_ms
        if failed_at_ms is not None and self._clock.monotonic_ms() - failed_at_ms >= RETRY_MS:
            self._find_room()
        return self._failed_at_ms is None

    def close(self) -> None:
        """Complete the live segment; an append after it starts a new one."""
        with self._lock:
            self._retire()
            self._drop_spare()

    def _find_room(self) -> None:
        with self._lock:
            try:
                self._segment_for(ROOM_BYTES)
            except OSError as error:
                self._fail("prepare", error)
            else:
                self._failed_at_ms = None

    def _try_append(self, records: Sequence[Record], committed: int) -> bool:
        try:
            live = self._segment_for(0)
            data = frames_of(records, live.seed, committed)
            if not live.has_room_for(len(data)):
                live = self._segment_for(len(data))
                data = frames_of(
                    records, live.seed, committed
                )  # A segment's checksums are its own.
            self._write(live, data)
        except OSError as error:
            self._fail("append", error)
            return False
        return True

    def _write(self, live: LiveSegment, data: bytes) -> None:
        try:
            live.write(data)
        except OSError:
            # Readers may have taken whole frames of the torn end: never write over it.
            self._retire()
            raise

    def _segment_for(self, count: int) -> LiveSegment:
        """Return the live segment, after a roll-over if it has no room for so many bytes."""
        if self._live is not None and self._live.has_room_for(count):
            return self._live
        if self._spare is None or not self._spare.has_room_for(count):
            next_one = self._new_segment(HEADER_BYTES + count)
        else:
            next_one, self._spare = self._spare, None
        self._go_on_with(next_one)
        return next_one

    def _go_on_with(self, segment: LiveSegment) -> None:
        self._retire()
        self._live, self._live_since_ms = segment, self._clock.monotonic_ms()

    def _new_segment(self, size: int) -> LiveSegment:
        identity = os.urandom(ID_BYTES)
        self._sequence += 1
        name = segment_name(self._clock.now_ms(), os.getpid(), self._sequence, identity)
        return LiveSegment(self._directory, name, identity, max(size, self._segment_bytes))

    def _prepare_spare(self, live: LiveSegment) -> None:
        """Take the space of the next segment while there is some: a disk fills up slowly."""
        if self._spare is not None or live.written < SPARE_AT * live.size:
            return
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._spare_failed_at_ms < RETRY_MS:
            return
        try:
            self._spare = self._new_segment(0)
        except OSError as error:  # The live segment takes more: nothing has failed yet.
            self._spare_failed_at_ms = now_ms
            _log.warning("outbox_space_short", error=str(error))

    def _fail(self, step: str, error: OSError) -> None:
        if self._failed_at_ms is None:
            _log.error("outbox_failed", step=step, error=str(error))
        self._failed_at_ms = self._clock.monotonic_ms()

    def _retire(self) -> None:
        if self._live is not None:
            self._unsynced.append(self._live.path)
            self._live.close()
            self._live = None

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare.path.unlink(missing_ok=True)
            self._spare = None

    def _remove_unfinished(self) -> None:
        """Remove what writers left that were killed between two lines of `LiveSegment`."""
        before = (self._clock.now_ms() - HOUR_MS) / SECOND_MS
        for path in self._directory.glob(f"*{_UNFINISHED_SUFFIX}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _forget_parents(self) -> None:
        """Leave the segments to the parent process; this one starts its own."""
        self._lock = Lock()
        for segment in (self._live, self._spare):
            if segment is not None:
                os.close(segment.descriptor)  # The parent's copy keeps the lock.
        self._live = self._spare = None
        self._unsynced.clear()


def _take_space(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS, where nobody runs this for real: a full disk shows at the write.
        os.ftruncate(descriptor, size)


def _start_anew_after_fork(outbox: SegmentOutbox) -> None:
    reference = weakref.WeakMethod(outbox._forget_parents)  # noqa: SLF001

    def in_child() -> None:
        forget = reference()
        if forget is not None:
            forget()

    os.register_at_fork(after_in_child=in_child)


def _sync_all(descriptor: int | None, paths: Sequence[Path]) -> None:
    """Sync an open file, which is closed then, and others by path; a drained one may be gone."""
    try:
        if descriptor is not None:
            _sync_data(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    for path in paths:
        with suppress(FileNotFoundError):
            other = os.open(path, os.O_RDONLY)
            try:
                os.fsync(other)
            finally:
                os.close(other)
