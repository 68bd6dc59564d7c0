"""Kills, full disks, forks, threads and readers beside it cost the outbox nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from service.errors import OutboxUnavailableError
from service.store.outbox import RETRY_MS, SegmentOutbox
from service.store.outbox_reader import SegmentReader
from service.store.records import Record
from tests.store_records import HandClock, a_decision

SMALL = 64 * 1024

FULL_DISK = """
import resource, sys
from pathlib import Path
from service.errors import OutboxUnavailableError
from service.store.outbox import SegmentOutbox
from tests.store_records import HandClock, a_decision
clock = HandClock()
outbox = SegmentOutbox(Path(sys.argv[1]), clock, segment_bytes=64 * 1024)
outbox.append([a_decision(0)])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
serial = 1
try:
    while serial < 10_000:
        outbox.append([a_decision(serial + i) for i in range(7)])
        serial += 7
except OutboxUnavailableError:
    print("full", serial, outbox.is_writable)
clock.at_ms += 1_000
print("still", outbox.is_writable)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
clock.at_ms += 1_000
print("mended", outbox.is_writable)
outbox.append([a_decision(serial)])
"""


KILLED_WRITER = """
import sys
from pathlib import Path
from service.store.outbox import SegmentOutbox
from tests.store_records import HandClock, a_decision
outbox = SegmentOutbox(Path(sys.argv[1]), HandClock(), segment_bytes=64 * 1024)
serial = 0
while True:
    outbox.append([a_decision(serial + i) for i in range(10)])
    serial += 10
    print(serial, flush=True)
"""


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


def run(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_reader_beside_a_writer_sees_every_record_once_and_no_damage(home: Path) -> None:
    count, step = 30_000, 37
    outbox = SegmentOutbox(home, HandClock(), segment_bytes=256 * 1024)

    def write() -> None:
        for start in range(0, count, step):
            stop = min(count, start + step)
            outbox.append([a_decision(serial) for serial in range(start, stop)])

    thread = Thread(target=write)
    thread.start()
    reader, damaged = SegmentReader(home, HandClock()), 0
    offsets: dict[str, int] = {}
    units: list[str] = []
    deadline = time.perf_counter() + 60
    while len(units) < count and time.perf_counter() < deadline:
        for segment in reader.segments():
            chunk = reader.read(segment, offsets.get(segment.name, 0), 500)
            offsets[segment.name] = chunk.next_offset
            units += [record.unit for record in chunk.records]  # type: ignore[union-attr]
            damaged += chunk.damaged
    thread.join()
    outbox.close()

    assert damaged == 0
    assert len(units) == count
    assert set(units) == {f"unit-{serial}" for serial in range(count)}


def test_a_killed_writer_loses_nothing_it_acknowledged(home: Path) -> None:
    with run(KILLED_WRITER, str(home)) as writer:
        assert writer.stdout is not None
        acknowledged = 0
        while acknowledged < 5_000:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        last = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    acknowledged = last[-1] if last else acknowledged
    records = everything(home)

    assert len(records) >= acknowledged
    assert records == [a_decision(serial) for serial in range(len(records))]
    assert all(segment.is_closed for segment in SegmentReader(home, HandClock()).segments())


@pytest.mark.parametrize("limit", [5_000, 30_001, SMALL, SMALL - 1])
def test_a_full_disk_is_told_and_loses_nothing(home: Path, limit: int) -> None:
    process = run(FULL_DISK, str(home), str(limit))
    out, _ = process.communicate(timeout=60)
    # The log goes to the same place.
    lines = [line for line in out.splitlines() if line.startswith(("full", "still", "mended"))]

    if limit >= SMALL:  # Segments of this size are still made: the disk is not full for us.
        assert lines == ["still True", "mended True"]
        return
    _, serial, _ = lines[0].split()
    assert lines == [f"full {serial} False", "still False", "mended True"]
    records = everything(home)
    assert set(records) >= {a_decision(i) for i in range(int(serial) + 1)}


def test_space_is_taken_ahead_so_a_full_disk_stops_nothing_at_once(home: Path) -> None:
    outbox = a_writer(home)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    try:
        for serial in range(100):
            outbox.append([a_decision(serial)])
        is_writable = outbox.is_writable
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    outbox.close()

    assert is_writable
    assert len(everything(home)) == 100


def test_a_writer_that_failed_tries_again_once_a_second(home: Path, tmp_path: Path) -> None:
    clock = HandClock()
    outbox = a_writer(home, clock)
    outbox.close()
    home.rename(tmp_path / "away")
    with pytest.raises(OutboxUnavailableError):
        outbox.append([a_decision(1)])
    (tmp_path / "away").rename(home)
    at_once = outbox.is_writable
    clock.at_ms += RETRY_MS
    later = outbox.is_writable
    outbox.close()

    assert not at_once
    assert later


def test_syncs_and_appends_of_many_threads_lose_nothing(home: Path) -> None:
    outbox = a_writer(home)

    def write(base: int) -> None:
        for serial in range(base, base + 300):
            outbox.append([a_decision(serial)])
            if serial % 20 == 0:
                outbox.sync()

    threads = [Thread(target=write, args=(base,)) for base in (0, 1_000, 2_000, 3_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.close()

    assert len(set(everything(home))) == 1_200


def test_a_forked_child_writes_to_its_own_segment(home: Path) -> None:
    outbox = a_writer(home)
    outbox.append([a_decision(1)])
    child = os.fork()
    if child == 0:
        outbox.append([a_decision(2)])
        outbox.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    outbox.append([a_decision(3)])
    live = [s.is_closed for s in SegmentReader(home, HandClock()).segments()]
    outbox.close()

    assert status == 0
    assert live == [False, True]
    assert set(everything(home)) == {a_decision(serial) for serial in (1, 2, 3)}
