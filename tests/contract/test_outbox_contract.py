"""What every outbox and its reader promise, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import astuple

from service.errors import OutboxUnavailableError
from service.store.memory_redis import MemoryOutbox
from service.store.outbox import SegmentOutbox
from service.store.outbox_ports import OutboxReader
from service.store.outbox_reader import SegmentReader
from service.store.ports import Outbox
from service.store.records import CommittedReward, Record, Witness
from tests.store_records import HandClock, a_decision, a_reward


class Rig(NamedTuple):
    """A writer and a reader that share records, and what makes the writer fail and recover."""

    outbox: Outbox
    reader: OutboxReader
    clock: HandClock
    break_it: Callable[[], None]
    mend_it: Callable[[], None]


@pytest.fixture(params=["memory", "segments"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    clock = HandClock()
    if request.param == "memory":
        yield _memory_rig(clock)
        return
    home, away = tmp_path / "outbox", tmp_path / "away"
    outbox = SegmentOutbox(home, clock, segment_bytes=64 * 1024)

    def break_it() -> None:
        outbox.close()
        home.rename(away)

    def mend_it() -> None:
        away.rename(home)

    yield Rig(outbox, SegmentReader(home, clock), clock, break_it, mend_it)
    outbox.close()


def _memory_rig(clock: HandClock) -> Rig:
    memory = MemoryOutbox()

    def break_it() -> None:
        memory.is_full = True

    def mend_it() -> None:
        memory.is_full = False

    return Rig(memory, memory, clock, break_it, mend_it)


def everything(reader: OutboxReader, count: int = 1_000) -> list[Record]:
    found: list[Record] = []
    for segment in reader.segments():
        offset, is_end = 0, False
        while not is_end:
            chunk = reader.read(segment, offset, count)
            found += chunk.records
            offset, is_end = chunk.next_offset, chunk.is_end
            assert chunk.damaged == 0
    return found


def test_rewards_that_the_ledger_had_come_back_marked(rig: Rig) -> None:
    rewards = [a_reward(serial) for serial in range(4)]

    rig.outbox.append(rewards, committed=3)

    assert everything(rig.reader) == [
        Witness(*astuple(rewards[0])),
        CommittedReward(*astuple(rewards[1])),
        CommittedReward(*astuple(rewards[2])),
        rewards[3],
    ]


def test_records_come_back_equal_and_in_order(rig: Rig) -> None:
    records: list[Record] = [
        a_decision(1, context=b'{"a":1}'),
        a_reward(1),
        a_decision(2),
        a_reward(2),
    ]

    rig.outbox.append(records[:3])
    rig.outbox.append(records[3:])

    assert everything(rig.reader) == records


def test_reading_in_small_steps_finds_every_record_once(rig: Rig) -> None:
    records = [a_decision(serial) for serial in range(3_000)]
    for start in range(0, 3_000, 500):
        rig.outbox.append(records[start : start + 500])

    assert everything(rig.reader, count=7) == records


def test_a_reader_at_the_end_goes_on_with_later_records(rig: Rig) -> None:
    rig.outbox.append([a_decision(1)])
    (segment,) = rig.reader.segments()
    first = rig.reader.read(segment, 0, 1_000)
    nothing = rig.reader.read(segment, first.next_offset, 1_000)
    rig.outbox.append([a_decision(2)])
    second = rig.reader.read(segment, nothing.next_offset, 1_000)

    assert first.is_end
    assert nothing.records == ()
    assert second.records == (a_decision(2),)


def test_an_empty_append_writes_nothing(rig: Rig) -> None:
    rig.outbox.append([])

    assert everything(rig.reader) == []


def test_a_writer_without_space_says_so_and_recovers(rig: Rig) -> None:
    rig.break_it()

    with pytest.raises(OutboxUnavailableError):
        rig.outbox.append([a_decision(1)])
    was_writable = rig.outbox.is_writable
    rig.mend_it()
    rig.clock.at_ms += 1_000
    is_writable = rig.outbox.is_writable
    rig.outbox.append([a_decision(2)])

    assert not was_writable
    assert is_writable
    assert everything(rig.reader) == [a_decision(2)]


def test_the_live_segment_is_never_retired(rig: Rig) -> None:
    rig.outbox.append([a_decision(1)])
    (segment,) = rig.reader.segments()

    with pytest.raises(ValueError, match="live"):
        rig.reader.retire(segment.name)

    assert not segment.is_closed
    assert everything(rig.reader) == [a_decision(1)]


def test_the_backlog_is_empty_once_all_is_committed(rig: Rig) -> None:
    rig.outbox.append([a_decision(1), a_decision(2)])
    (segment,) = rig.reader.segments()
    before = rig.reader.backlog({})
    chunk = rig.reader.read(segment, 0, 10)
    after = rig.reader.backlog({segment.name: chunk.next_offset})

    assert before["bytes"] > 0
    assert after["bytes"] == 0
    assert after["age_seconds"] == 0.0


def test_a_synced_outbox_still_has_every_record(rig: Rig) -> None:
    rig.outbox.append([a_reward(1)])
    rig.outbox.sync()

    assert everything(rig.reader) == [a_reward(1)]
