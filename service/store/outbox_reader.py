"""Read outbox segments, whoever wrote them, and put aside what is damaged."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import structlog

from service.domain.clock import SECOND_MS, Clock
from service.domain.decision import Decision
from service.errors import OutboxUnavailableError
from service.store.outbox_frames import (
    FRAME_BYTES_MAX,
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    SEGMENT_SUFFIX,
    Parsed,
    frame_end,
    next_frame,
    parse,
    seed_from,
)
from service.store.records import Chunk, Record, Segment

WINDOW_BYTES = 256 * 1024
QUARANTINE = "quarantine"
_PAGE_BYTES = 4096
# A drained segment is known to SQL until its position is forgotten there: so long its name stays.
_RETIRED_SUFFIX = ".gone"

_log = structlog.get_logger(__name__)


class SegmentReader:
    """Drains a directory of segments; one thread at a time."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._quarantine = directory / QUARANTINE
        self._clock = clock
        self._settled: dict[str, int] = {}  # Where closed segments were found to end.

    def segments(self) -> list[Segment]:
        """Return the segments, oldest first."""
        paths = sorted(self._directory.glob(f"*{SEGMENT_SUFFIX}"))
        return [each for each in map(_segment_at, paths) if each is not None]

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Return at most `count` records from an offset on; quarantines what is damaged.

        Damage is what does not check while a sound frame follows it, or what ends a closed
        segment without being zeros. In a live segment it may just as well not be written yet.
        """
        if offset and offset == self._settled.get(segment.name):
            return Chunk((), offset, damaged=0, is_end=True)
        try:
            with _Frames(self._directory / segment.name) as frames:
                chunk = self._drain(frames, segment, max(offset, HEADER_BYTES), count)
        except FileNotFoundError:
            return Chunk((), offset, damaged=0, is_end=True)
        if chunk.is_end and segment.is_closed:
            self._settled[segment.name] = chunk.next_offset
        return chunk

    def quarantine(self, segment: str, record: Record, reason: str) -> None:
        """Put a record that the ledger can never take aside, as JSON that says why."""
        kind = "decision" if isinstance(record, Decision) else "reward"
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        body = {"segment": segment, "reason": reason, "kind": kind, kind: fields}
        text = msgspec.json.format(msgspec.json.encode(body))
        identity = blake2b(msgspec.msgpack.encode(record), digest_size=8).hexdigest()
        self._put_aside(f"{segment}.{identity}.json", text)
        _log.error("outbox_record_quarantined", segment=segment, reason=reason, kind=kind)

    def retire(self, segment: str) -> None:
        """Empty a drained, closed segment and leave its name only; `ValueError` for a live one."""
        path = self._directory / segment
        found = _segment_at(path)
        if found is not None and not found.is_closed:
            raise ValueError(f"{segment} is live")
        name = path.with_suffix(_RETIRED_SUFFIX)
        with suppress(FileNotFoundError):  # Another worker on the directory was faster.
            path.rename(name)
            os.truncate(name, 0)
        self._settled.pop(segment, None)

    def retired(self) -> list[str]:
        """Return the segments of which only the name is left."""
        paths = self._directory.glob(f"*{_RETIRED_SUFFIX}")
        return sorted(path.with_suffix(SEGMENT_SUFFIX).name for path in paths)

    def remove(self, segment: str) -> None:
        """Delete a retired segment."""
        path = self._directory / segment
        path.with_suffix(_RETIRED_SUFFIX).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return how much room for segments the volume has."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def ends(self) -> dict[str, int]:
        """Return where what is written of each segment ends now."""
        ends: dict[str, int] = {}
        for segment in self.segments():
            with suppress(FileNotFoundError), _Frames(self._directory / segment.name) as frames:
                ends[segment.name] = frames.written_end(HEADER_BYTES)
        return ends

    def backlog(self, committed: dict[str, int]) -> dict[str, Any]:
        """Return `bytes` not yet committed, `age_seconds` of the oldest and how many `segments`."""
        pending, oldest_ms, segments = 0, None, self.segments()
        for segment in segments:
            place = max(committed.get(segment.name, 0), HEADER_BYTES)
            with suppress(FileNotFoundError), _Frames(self._directory / segment.name) as frames:
                behind = frames.written_end(place) - place
                if behind > 0 and oldest_ms is None:
                    oldest_ms = frames.time_at(place) or segment.modified_at_ms
                pending += behind
        age_ms = 0 if oldest_ms is None else max(0, self._clock.now_ms() - oldest_ms)
        return {"bytes": pending, "age_seconds": age_ms / SECOND_MS, "segments": len(segments)}

    def _drain(self, frames: _Frames, segment: Segment, place: int, count: int) -> Chunk:
        records: list[Record] = []
        damaged = 0
        while len(records) < count:
            parsed = frames.parse(place, count - len(records))
            records += parsed.records
            for start, end in parsed.unreadable:
                self._put_bytes_aside(segment.name, start, frames.bytes_at(start, end - start))
            damaged += len(parsed.unreadable)
            if parsed.end > place:
                place = parsed.end
                continue
            resume = frames.resume(place, is_closed=segment.is_closed)
            if resume is None:
                return Chunk(tuple(records), place, damaged, is_end=True)
            if self._set_aside(frames, segment.name, place, resume):
                damaged += 1
            place = resume
        return Chunk(tuple(records), place, damaged, is_end=False)

    def _set_aside(self, frames: _Frames, segment: str, start: int, end: int) -> bool:
        data = frames.bytes_at(start, end - start)
        if data:
            self._put_bytes_aside(segment, start, data)
        return bool(data)

    def _put_bytes_aside(self, segment: str, start: int, data: bytes) -> None:
        self._put_aside(f"{segment}.{start}.bin", data)
        _log.error("outbox_bytes_quarantined", segment=segment, offset=start, size=len(data))

    def _put_aside(self, name: str, data: bytes) -> None:
        """Write a file whose name says what it holds: doing it again changes nothing."""
        try:
            self._quarantine.mkdir(mode=0o700, exist_ok=True)
            (self._quarantine / name).write_bytes(data)
        except OSError as error:
            raise OutboxUnavailableError("the quarantine cannot be written") from error


class _Frames:
    """An open segment, read in windows."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._seed = seed_from(self.bytes_at(0, HEADER_BYTES), path.name)

    def __enter__(self) -> _Frames:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def bytes_at(self, place: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, place)

    def parse(self, place: int, count: int) -> Parsed:
        found = parse(self.bytes_at(place, WINDOW_BYTES), 0, self._seed, count)
        unreadable = [(place + start, place + end) for start, end in found.unreadable]
        return Parsed(found.records, unreadable, place + found.end)

    def resume(self, place: int, *, is_closed: bool) -> int | None:
        """Return where to go on from a place without a sound frame, or None: nowhere yet."""
        if is_closed:
            return self._resume_closed(place)
        window = self.bytes_at(place, 2 * FRAME_BYTES_MAX)
        if not any(window[:FRAME_HEAD_BYTES]):
            return None
        found = next_frame(window, 1, self._seed)
        if found is None:
            return None
        # A write under way shows its later pages to a reader that met the earlier ones too
        # soon. Whoever has seen what follows sees the whole of it on the next look.
        again = self.bytes_at(place, 2 * FRAME_BYTES_MAX)
        return place if frame_end(again, 0, self._seed) is not None else place + found

    def written_end(self, place: int) -> int:
        """Return about where the zeros start that nothing has been written to yet."""
        low, high = place, os.fstat(self._descriptor).st_size
        while high - low > _PAGE_BYTES:
            middle = (low + high) // 2
            if self._is_zero(middle):
                high = middle
            else:
                low = middle
        return low + len(self.bytes_at(low, high - low + _PAGE_BYTES).rstrip(b"\0"))

    def time_at(self, place: int) -> int | None:
        """Return when the record at a place was made, in milliseconds since the Unix epoch."""
        for record in self.parse(place, 1).records:
            if isinstance(record, Decision):
                return record.decided_at_ms
            return record.received_at_ms
        return None

    def _resume_closed(self, place: int) -> int | None:
        tail = self.bytes_at(place, os.fstat(self._descriptor).st_size - place)
        found = next_frame(tail, 1, self._seed)
        if found is not None:
            return place + found
        torn = len(tail.rstrip(b"\0"))
        return place + torn if torn else None

    def _is_zero(self, place: int) -> bool:
        page = self.bytes_at(place, _PAGE_BYTES)
        return page == bytes(len(page))


def _segment_at(path: Path) -> Segment | None:
    """Look at a file; a writer holds its lock as long as it lives, and None: it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # Shared: readers do not collide.
        is_closed = True
    except BlockingIOError:
        is_closed = False
    finally:
        modified_at_ms = os.fstat(descriptor).st_mtime_ns // 1_000_000
        os.close(descriptor)
    return Segment(path.name, is_closed, modified_at_ms)
