"""Torn, corrupted and foreign bytes in outbox segments cost no record but their own."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import pytest

from service.store.outbox import SegmentOutbox
from service.store.outbox_frames import FRAME_MAGIC, HEADER_BYTES, frames_of, seed_from
from service.store.outbox_reader import SegmentReader
from service.store.records import Chunk, Record, Segment
from tests.store_records import HandClock, a_decision, a_reward

RECORDS: list[Record] = [a_decision(1), a_decision(2, context=b'{"plan":"gold"}'), a_reward(3)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def written(home: Path) -> bytes:
    """Write the three records and return the closed segment's bytes."""
    outbox = SegmentOutbox(home, HandClock(), segment_bytes=64 * 1024)
    outbox.append(RECORDS)
    outbox.close()
    (path,) = home.glob("*.seg")
    return path.read_bytes()


def read(home: Path, *, is_closed: bool = True) -> Chunk:
    reader = SegmentReader(home, HandClock())
    (segment,) = reader.segments()
    return reader.read(Segment(segment.name, is_closed, 0), 0, 1_000)


def rewrite(home: Path, data: bytes) -> None:
    (path,) = home.glob("*.seg")
    path.write_bytes(data)


def ends_of_frames(home: Path, data: bytes) -> list[int]:
    (path,) = home.glob("*.seg")
    seed = seed_from(data[:HEADER_BYTES], path.name)
    sizes = [len(frames_of([record], seed)) for record in RECORDS]
    return [HEADER_BYTES + sum(sizes[: i + 1]) for i in range(len(sizes))]


def quarantined(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((home / "quarantine").glob("*"))]


@pytest.mark.parametrize("padding", [0, 4096], ids=["closed", "killed"])
def test_a_last_record_torn_at_any_byte_costs_no_other(home: Path, padding: int) -> None:
    data = written(home)
    _, start, end = ends_of_frames(home, data)

    for cut in range(start, end):
        rewrite(home, data[:cut] + bytes(padding))
        chunk = read(home)

        assert list(chunk.records) == RECORDS[:2], cut
        assert chunk.is_end
        assert chunk.damaged == (1 if cut > start else 0), cut


def test_a_live_segment_with_a_torn_end_waits_for_the_rest(home: Path) -> None:
    data = written(home)
    _, start, end = ends_of_frames(home, data)

    for cut in range(start, end):
        rewrite(home, data[:cut] + bytes(4096))
        chunk = read(home, is_closed=False)

        assert (chunk.next_offset, chunk.damaged, chunk.is_end) == (start, 0, True), cut
    assert quarantined(home) == []


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "live"])
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_one_wrong_byte_anywhere_in_a_record_costs_only_that(
    home: Path, is_closed: bool, flip: int
) -> None:
    data = written(home)
    start, end, _ = ends_of_frames(home, data)

    for place in range(start, end):
        broken = bytearray(data)
        broken[place] ^= flip
        rewrite(home, bytes(broken))
        chunk = read(home, is_closed=is_closed)

        assert list(chunk.records) == [RECORDS[0], RECORDS[2]], place
        assert chunk.damaged == 1
        assert quarantined(home) == [bytes(broken[start:end])]


def test_a_wrong_byte_anywhere_in_the_header_costs_nothing(home: Path) -> None:
    data = written(home)

    for place in range(HEADER_BYTES):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        rewrite(home, bytes(broken))

        assert list(read(home).records) == RECORDS, place


def test_a_hole_of_zeros_before_sound_records_is_damage(home: Path) -> None:
    data = written(home)
    start, end, _ = ends_of_frames(home, data)
    rewrite(home, data[:start] + bytes(end - start) + data[end:])

    chunk = read(home)

    assert list(chunk.records) == [RECORDS[0], RECORDS[2]]
    assert chunk.damaged == 1


def test_a_sound_frame_with_an_unknown_record_is_put_aside(home: Path) -> None:
    data = written(home)
    (path,) = home.glob("*.seg")
    seed = seed_from(data[:HEADER_BYTES], path.name)
    _, end, _ = ends_of_frames(home, data)
    payload = msgspec.msgpack.encode([99, "from the future"])
    frame = struct.pack("<4sII", FRAME_MAGIC, len(payload), zlib.crc32(payload, seed)) + payload
    rewrite(home, data[:end] + frame + data[end:])

    chunk = read(home)

    assert list(chunk.records) == RECORDS
    assert chunk.damaged == 1
    assert quarantined(home) == [frame]


def test_frames_of_another_segment_are_never_taken(home: Path, tmp_path: Path) -> None:
    data = written(home)
    stranger = tmp_path / "stranger"
    foreign = written(stranger)[HEADER_BYTES:]
    rewrite(home, data + foreign)

    chunk = read(home)

    assert list(chunk.records) == RECORDS
    assert chunk.damaged == 1


def test_a_settled_tail_is_reported_once(home: Path) -> None:
    data = written(home)
    rewrite(home, data[:-3])
    reader = SegmentReader(home, HandClock())
    (segment,) = reader.segments()

    first = reader.read(segment, 0, 1_000)
    again = reader.read(segment, first.next_offset, 1_000)
    anew = SegmentReader(home, HandClock()).read(segment, first.next_offset, 1_000)

    assert first.damaged == 1
    assert (again.damaged, again.is_end, anew.damaged, anew.is_end) == (0, True, 0, True)


def test_a_poison_record_is_kept_with_its_reason(home: Path) -> None:
    written(home)
    reader = SegmentReader(home, HandClock())
    (segment,) = reader.segments()

    reader.quarantine(segment.name, RECORDS[2], "no such experiment")

    (body,) = map(msgspec.json.decode, quarantined(home))
    assert body["reason"] == "no such experiment"
    assert body["reward"]["event"] == "conversion"
