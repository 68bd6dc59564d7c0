"""Drained segments go an hour later, whoever drained them, and leave nothing in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from service.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS
from service.errors import LedgerUnavailableError
from service.store.memory_ledger import MemoryLedger
from service.store.outbox import SegmentOutbox
from service.store.outbox_reader import SegmentReader
from service.worker.drain import FREE_BYTES_MIN, LOOK_BACK_MS, Drain
from tests.worker_rig import Rig

NOTHING: Callable[[], None] = lambda: None  # noqa: E731


class InterruptedLedger(MemoryLedger):
    """Fails, or lets another worker in, where it is told to."""

    is_forgetting_down = False
    before_positions = staticmethod(NOTHING)

    async def forget_segment(self, segment: str) -> None:
        """Forget it, or be down."""
        if self.is_forgetting_down:
            raise LedgerUnavailableError("SQL is down")
        await super().forget_segment(segment)

    async def positions(self, segments: Sequence[str]) -> dict[str, int]:
        """Answer once something has happened."""
        self.before_positions()
        return await super().positions(segments)


class SmallDisk(SegmentReader):
    """A reader of a volume that has room for so many segments."""

    room = 1 << 40

    def free_bytes(self) -> int:
        """Return what is left: less with every segment that is there."""
        return self.room - sum(path.stat().st_size for path in self._directory.glob("*"))


class Directory:
    """A directory of segments, and the workers on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.rig = Rig()
        self.ledger = InterruptedLedger(self.rig.clock)
        self.rig.clock.at_ms = home.stat().st_mtime_ns // 1_000_000 + SECOND_MS

    def worker(self) -> Drain:
        """Make the drain of a worker."""
        reader = SmallDisk(self.home, self.rig.clock)
        return Drain(reader, self.ledger, self.rig.clock, self.rig.metrics)

    async def fill(self, count: int) -> None:
        """Write closed segments."""
        experiment = await self.rig.create()
        for _ in range(count):
            outbox = SegmentOutbox(self.home, self.rig.clock)
            outbox.append([self.rig.decision(experiment, 0)])
            outbox.close()
            self.rig.clock.at_ms += 1

    async def drained(self, drain: Drain) -> Drain:
        """Let a drain do everything there is to do."""
        for _ in range(3):
            while await drain.turn():
                pass
            self.rig.clock.at_ms += SECOND_MS
        return drain

    def files(self) -> list[str]:
        """Return what is in the directory."""
        return sorted(path.suffix for path in self.home.iterdir())

    def metric(self, name: str) -> float | None:
        """Read a metric."""
        return self.rig.metrics.registry.get_sample_value(f"promobandit_{name}_total")


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


async def test_a_drained_segment_goes_an_hour_later_and_leaves_nothing(
    directory: Directory,
) -> None:
    await directory.fill(1)
    drain = await directory.drained(directory.worker())

    directory.rig.clock.at_ms += HOUR_MS + SECOND_MS
    await drain.clean()

    assert directory.files() == []
    assert directory.ledger.committed_segments() == set()


async def test_a_worker_that_starts_anew_keeps_what_was_drained_just_now(
    directory: Directory,
) -> None:
    await directory.fill(1)
    directory.rig.clock.at_ms += 5 * HOUR_MS  # SQL was away.
    await directory.drained(directory.worker())

    drain = await directory.drained(directory.worker())
    directory.rig.clock.at_ms += 50 * MINUTE_MS
    await drain.clean()

    assert directory.files() == [".seg"]


async def test_what_a_killed_worker_left_of_a_segment_goes_with_its_position(
    directory: Directory,
) -> None:
    await directory.fill(1)
    drain = await directory.drained(directory.worker())
    directory.rig.clock.at_ms += HOUR_MS + SECOND_MS
    directory.ledger.is_forgetting_down = True
    with pytest.raises(LedgerUnavailableError):
        await drain.clean()
    assert directory.files() == [".gone"]
    assert len(directory.ledger.committed_segments()) == 1

    directory.ledger.is_forgetting_down = False
    await directory.worker().clean()

    assert directory.files() == []
    assert directory.ledger.committed_segments() == set()


async def test_a_segment_that_another_worker_deletes_meanwhile_is_no_loss(
    directory: Directory,
) -> None:
    await directory.fill(1)
    drain = await directory.drained(directory.worker())
    (name,) = directory.ledger.committed_segments()

    def delete() -> None:
        SegmentReader(directory.home, directory.rig.clock).retire(name)
        directory.ledger._positions.clear()

    directory.ledger.before_positions = delete
    directory.rig.clock.at_ms += LOOK_BACK_MS
    await drain.turn()

    assert directory.metric("ledger_went_back") == 0


async def test_on_a_small_disk_the_oldest_drained_segments_go_early(directory: Directory) -> None:
    await directory.fill(3)
    drain = await directory.drained(directory.worker())
    sizes = [path.stat().st_size for path in sorted(directory.home.iterdir())]
    newest = max(path.name for path in directory.home.iterdir())
    drain._reader.room = FREE_BYTES_MIN + sizes[-1]  # type: ignore[attr-defined]

    await drain.make_room()

    assert [path.name for path in directory.home.glob("*.seg")] == [newest]
    assert directory.metric("segments_removed_early") == 2


async def test_what_is_not_drained_stays_however_small_the_disk(directory: Directory) -> None:
    await directory.fill(2)
    drain = directory.worker()
    drain._reader.room = 0  # type: ignore[attr-defined]

    await drain.make_room()

    assert directory.files() == [".seg", ".seg"]
