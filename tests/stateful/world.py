"""Two API processes and a worker over memory stores, with a switch for everything that can fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar, cast

from service.allocations import AllocationStores, Allocator, ServingTables
from service.allocations.schedule import AllocationSchedule
from service.allocations.traces import Traces
from service.bulk import Bulk
from service.decisions import Decisions
from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.domain.token import TokenCodec
from service.errors import LedgerUnavailableError, RedisUnavailableError
from service.experiments import Experiments
from service.metrics import Metrics
from service.rewards import Rewards, Tallies
from service.store.memory_ledger import MemoryLedger
from service.store.memory_quality import MemoryTallyStore
from service.store.memory_redis import MemoryAllocations, MemoryOutbox, MemoryReplays
from service.store.memory_sql import MemoryAllocationStore, MemoryExperimentStore
from service.store.records import Chunk, Record, Segment
from service.worker.drain import Drain
from service.worker.restore import Restore
from service.worker.write_back import WriteBack

T = TypeVar("T")
# Half an hour before midnight: a clock that is an hour ahead is in the next generation of replays.
START_MS = 20_775 * DAY_MS + 23 * HOUR_MS + 30 * MINUTE_MS
UP, DOWN, LOST = "up", "down", "lost"  # Lost: what is written is written, but its reply is lost.
MODES = (UP, DOWN, LOST)


@dataclass
class Switch:
    """Whether a server answers; with a fuse it goes down after so many calls."""

    error: Callable[[], Exception]
    mode: str = UP
    fuse: int | None = None

    def before_call(self) -> None:
        """Raise when the server is down by now."""
        if self.fuse == 0:
            self.mode = DOWN
        elif self.fuse is not None:
            self.fuse -= 1
        if self.mode == DOWN:
            raise self.error()


class Switched:
    """Any store of a server, behind its switch."""

    _WRITES = frozenset(
        {"append", "begin_epoch", "forget_segment", "insert", "publish", "remember", "restore"}
        | {"create", "update"}
    )

    def __init__(self, store: object, switch: Switch) -> None:
        self._store = store
        self._switch = switch

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  Whatever the store has.
        method = getattr(self._store, name)

        async def call(*args: object, **kwargs: object) -> object:
            self._switch.before_call()
            outcome = await method(*args, **kwargs)
            if self._switch.mode == LOST and name in self._WRITES:
                raise self._switch.error()
            return outcome

        return call


def switched(store: T, switch: Switch) -> T:
    """Return a store as its users see it."""
    return cast(T, Switched(store, switch))


@dataclass
class Time:
    """The true time, by which every process's clock runs."""

    at_ms: int = START_MS


@dataclass
class SkewedClock:
    """A process's clock: somebody may set it, and nobody its monotonic time."""

    time: Time
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Return the wall time as this process sees it."""
        return self.time.at_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        """Return the true time."""
        return self.time.at_ms


class Segments:
    """The outbox directory: its files, and a reader that can be told in which order to read."""

    def __init__(self, time: Time) -> None:
        self.files: dict[str, list[Record]] = {}
        self.closed: dict[str, int] = {}
        self.removed: list[str] = []
        self.order: Sequence[str] = ()
        self.limit = 1_000
        self._time = time

    def segments(self) -> list[Segment]:
        """Return the segments in the order asked for."""
        names = [name for name in self.order if name in self.files]
        return [
            Segment(name, name in self.closed, self.closed.get(name, self._time.at_ms))
            for name in names
        ]

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Return a few records; an offset is an index here."""
        records = self.files[segment.name]
        some = tuple(records[offset : offset + min(count, self.limit)])
        end = offset + len(some)
        return Chunk(some, end, damaged=0, is_end=end == len(records))

    def quarantine(self, segment: str, record: Record, reason: str) -> None:
        """Fail: nothing here is poison."""
        raise AssertionError(f"{segment}: {record} was refused: {reason}")

    def retire(self, segment: str) -> None:
        """Delete a closed segment."""
        assert segment in self.closed
        del self.files[segment]
        self.removed.append(segment)

    def retired(self) -> list[str]:
        """Return what SQL still knows of."""
        return list(self.removed)

    def remove(self, segment: str) -> None:
        """Do nothing: the model looks at what was removed."""
        assert segment in self.removed

    def free_bytes(self) -> int:
        """Return what a large disk has."""
        return 1 << 40

    def ends(self) -> dict[str, int]:
        """Return how many records each segment has."""
        return {name: len(records) for name, records in self.files.items()}

    def backlog(self, committed: dict[str, int]) -> dict[str, Any]:
        """Return nothing: it is for metrics."""
        return {"bytes": len(committed), "age_seconds": 0.0, "segments": 0}


class SegmentOutbox(MemoryOutbox):
    """The writer of one process; `is_full` plays a full disk."""

    def __init__(self, segments: Segments, name: str) -> None:
        super().__init__()
        self.name = name
        segments.files[name] = self.records


@dataclass
class Servers:
    """What all processes share: SQL, Redis, the outbox directory, and what they are counted by."""

    time: Time = field(default_factory=Time)
    sql: Switch = field(default_factory=lambda: Switch(lambda: LedgerUnavailableError("down")))
    redis: Switch = field(default_factory=lambda: Switch(lambda: RedisUnavailableError("down")))
    ledger: MemoryLedger = field(init=False)
    experiments: MemoryExperimentStore = field(default_factory=MemoryExperimentStore)
    allocations: MemoryAllocationStore = field(default_factory=MemoryAllocationStore)
    published: MemoryAllocations = field(default_factory=MemoryAllocations)
    replays: MemoryReplays = field(default_factory=MemoryReplays)
    codec: TokenCodec = field(default_factory=lambda: TokenCodec({1: b"k" * 32}, 1))
    serial: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.segments = Segments(self.time)
        self.ledger = MemoryLedger(SkewedClock(self.time))
        self.metrics = Metrics()

    def stores(self) -> AllocationStores:
        """Return the stores as a process reaches them."""
        return AllocationStores(
            experiments=switched(self.experiments, self.sql),
            allocations=switched(self.allocations, self.sql),
            published=switched(self.published, self.redis),
            ledger=switched(self.ledger, self.sql),
        )


class Process:
    """One API process from its start to its end."""

    def __init__(self, servers: Servers, skew_ms: int = 0) -> None:
        self.clock = SkewedClock(servers.time, skew_ms)
        self.outbox = SegmentOutbox(servers.segments, f"{next(servers.serial):03d}")
        stores, metrics = servers.stores(), servers.metrics
        self.tables = ServingTables(stores, self.clock, metrics)
        self.decisions = Decisions(
            tables=self.tables,
            replays=switched(servers.replays, servers.redis),
            outbox=self.outbox,
            ledger=stores.ledger,
            codec=lambda: servers.codec,
            clock=self.clock,
            nonce=lambda: f"nonce-{next(servers.serial)}",
            metrics=metrics,
        )
        self.bulk = Bulk(self.decisions)
        self.rewards = Rewards(
            tables=self.tables,
            ledger=stores.ledger,
            outbox=self.outbox,
            codec=lambda: servers.codec,
            clock=self.clock,
            metrics=metrics,
            tallies=Tallies(MemoryTallyStore(), self.clock),
        )
        self.experiments = Experiments(
            store=stores.experiments,
            tables=self.tables,
            reallocate=Allocator(stores, self.clock, metrics).reallocate,
            make_salt=lambda: next(servers.serial).to_bytes(16, "big"),
            clock=self.clock,
        )


class WorkerProcess:
    """One worker from its start to its end; its lease is always held."""

    def __init__(self, servers: Servers, skew_ms: int = 0) -> None:
        self.clock = SkewedClock(servers.time, skew_ms)
        stores, metrics = servers.stores(), servers.metrics
        replays = switched(servers.replays, servers.redis)
        traces = Traces()
        self.write_back = WriteBack(replays, stores.ledger, stores.published, self.clock, metrics)
        self.drain = Drain(
            servers.segments, stores.ledger, self.clock, metrics, traces, self.write_back.note
        )
        self.allocator = Allocator(stores, self.clock, metrics, traces.version)
        self.schedule = AllocationSchedule(self.allocator, stores, self.clock, metrics, traces)
        self.restore = Restore(
            self.schedule.refresh,
            stores,
            replays,
            self.clock,
            metrics,
            lambda: f"epoch-{next(servers.serial)}",
        )
