"""The outbox writer: roll-over, space taken ahead, closing, syncing, backlog."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.store.outbox import AGE_MAX_MS, SegmentOutbox
from service.store.outbox_reader import SegmentReader
from service.store.records import Record
from tests.store_records import NOW_MS, HandClock, a_decision, a_reward

SMALL = 64 * 1024


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def a_writer(home: Path, clock: HandClock | None = None) -> SegmentOutbox:
    return SegmentOutbox(home, clock or HandClock(), segment_bytes=SMALL)


def everything(home: Path) -> list[Record]:
    reader = SegmentReader(home, HandClock())
    found: list[Record] = []
    for segment in reader.segments():
        chunk = reader.read(segment, 0, 1_000_000)
        assert chunk.is_end
        assert chunk.damaged == 0
        found += chunk.records
    return found


def test_a_batch_that_does_not_fit_goes_to_the_next_segment_whole(home: Path) -> None:
    outbox = a_writer(home)
    records = [a_decision(serial) for serial in range(2_000)]
    for start in range(0, 2_000, 100):
        outbox.append(records[start : start + 100])
    outbox.close()

    reader = SegmentReader(home, HandClock())
    sizes = [len(reader.read(s, 0, 10_000).records) for s in reader.segments()]

    assert everything(home) == records
    assert len(sizes) > 2
    assert all(size % 100 == 0 for size in sizes)


def test_a_batch_larger_than_a_segment_gets_one_of_its_size(home: Path) -> None:
    outbox = a_writer(home)
    records = [a_decision(serial) for serial in range(5_000)]
    outbox.append(records)
    outbox.close()

    assert everything(home) == records


def test_the_next_segment_is_there_before_it_is_needed(home: Path) -> None:
    outbox = a_writer(home)
    serial = 0
    while len(list(home.glob("*.seg"))) == 1:
        outbox.append([a_decision(serial)])
        serial += 1
    first, spare = sorted(home.glob("*.seg"))
    chunk = SegmentReader(home, HandClock()).read(
        SegmentReader(home, HandClock()).segments()[0], 0, 100_000
    )
    outbox.close()

    assert spare.name > first.name
    assert len(chunk.records) == serial
    assert chunk.next_offset < SMALL


def test_closing_leaves_no_empty_space_and_no_lock(home: Path) -> None:
    outbox = a_writer(home)
    outbox.append([a_decision(1)])
    (live,) = SegmentReader(home, HandClock()).segments()
    outbox.close()
    (closed,) = SegmentReader(home, HandClock()).segments()

    assert not live.is_closed
    assert closed.is_closed
    assert (home / closed.name).stat().st_size < 1_000


def test_an_append_after_closing_starts_a_new_segment(home: Path) -> None:
    outbox = a_writer(home)
    outbox.append([a_decision(1)])
    outbox.close()
    outbox.append([a_decision(2)])
    outbox.close()

    assert len(list(home.glob("*.seg"))) == 2
    assert everything(home) == [a_decision(1), a_decision(2)]


def test_two_writers_share_a_directory_and_no_segment(home: Path) -> None:
    one, other = a_writer(home), a_writer(home)
    for serial in range(100):
        (one if serial % 2 else other).append([a_decision(serial)])
    names = [segment.name for segment in SegmentReader(home, HandClock()).segments()]
    one.close()
    other.close()

    assert len(set(names)) == 2
    assert sorted(everything(home), key=lambda r: r.key) == sorted(
        [a_decision(serial) for serial in range(100)], key=lambda r: r.key
    )


def test_a_drained_segment_can_be_removed(home: Path) -> None:
    outbox = a_writer(home)
    outbox.append([a_decision(1)])
    outbox.close()
    reader = SegmentReader(home, HandClock())
    (segment,) = reader.segments()
    reader.retire(segment.name)
    reader.retire(segment.name)
    retired = reader.retired()
    left = sum(path.stat().st_size for path in home.iterdir())
    reader.remove(segment.name)
    reader.remove(segment.name)

    assert reader.segments() == []
    assert reader.read(segment, 0, 10).is_end
    assert (retired, left) == ([segment.name], 0)
    assert list(home.iterdir()) == []


def test_the_backlog_tells_bytes_and_age_of_what_is_not_committed(home: Path) -> None:
    clock = HandClock()
    outbox = SegmentOutbox(home, clock, segment_bytes=1024 * 1024)
    outbox.append([a_decision(serial) for serial in range(1_000)])
    reader = SegmentReader(home, clock)
    (segment,) = reader.segments()
    first = reader.read(segment, 0, 400)
    clock.at_ms = NOW_MS + 9_000
    rest = reader.backlog({segment.name: first.next_offset})
    end = reader.read(segment, first.next_offset, 1_000).next_offset
    outbox.close()

    assert rest == {"bytes": end - first.next_offset, "age_seconds": 9.0, "segments": 1}


def test_a_sync_covers_the_segment_that_was_rolled_over_before_it(home: Path) -> None:
    outbox = a_writer(home)
    outbox.append([a_reward(1)])
    outbox.append([a_decision(serial) for serial in range(2_000)])
    outbox.sync()
    first = min(home.glob("*.seg"))
    first.unlink()  # A worker may have drained it meanwhile.
    outbox.append([a_decision(serial) for serial in range(2_000)])
    outbox.sync()
    outbox.close()

    assert len(everything(home)) == 4_000


def test_what_a_killed_writer_left_unfinished_is_removed_after_an_hour(home: Path) -> None:
    home.mkdir()
    old, new = home / "old.new", home / "fresh.new"
    for path, age_seconds in ((old, 3_601), (new, 10)):
        path.write_bytes(b"")
        at = NOW_MS / 1_000 - age_seconds
        os.utime(path, (at, at))
    a_writer(home).close()

    assert not old.exists()
    assert new.exists()


def test_a_record_longer_than_any_is_refused(home: Path) -> None:
    outbox = a_writer(home)

    with pytest.raises(ValueError, match="a record has more than"):
        outbox.append([a_decision(1, context=bytes(70_000))])
    outbox.close()


HOUR_LATER = NOW_MS + AGE_MAX_MS


def test_a_segment_of_an_hour_is_completed_and_the_next_one_goes_on(home: Path) -> None:
    clock = HandClock()
    outbox = a_writer(home, clock)
    outbox.append([a_decision(1)])
    clock.at_ms = HOUR_LATER - 1
    outbox.roll_over()
    before = [segment.is_closed for segment in SegmentReader(home, clock).segments()]
    clock.at_ms = HOUR_LATER

    outbox.roll_over()

    after = [segment.is_closed for segment in SegmentReader(home, clock).segments()]
    outbox.append([a_decision(2)])
    assert (before, after) == ([False], [True, False])
    assert everything(home) == [a_decision(1), a_decision(2)]
    outbox.close()


def test_an_empty_segment_of_an_hour_is_completed_too(home: Path) -> None:
    clock = HandClock()
    outbox = a_writer(home, clock)
    clock.at_ms = HOUR_LATER

    outbox.roll_over()

    assert [s.is_closed for s in SegmentReader(home, clock).segments()] == [True, False]
    outbox.close()
