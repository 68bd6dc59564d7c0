"""What all machines share: the world, its faults, the worker's turns, and the last reckoning."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.allocations.serving_tables import is_whole
from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from service.domain.decision import unpack_replay
from service.domain.experiment import PolicySpec
from service.errors import LedgerUnavailableError, UnavailableError
from service.experiments import Act, Target
from tests.stateful.lifecycle_model import Configuration
from tests.stateful.model import DrainModel, Entry, LedgerModel, MemoryModel, Told
from tests.stateful.reckoning import Reckoning
from tests.stateful.world import LOST, MODES, UP, Process, Servers, WorkerProcess

T = TypeVar("T")
PROCESSES = st.integers(0, 1)
TURNS_MAX = 20  # So many, a second apart, must empty the outbox.
EXPERIMENTS = st.sampled_from([0, 0, 0, 1, 2])
CLOCKS = st.integers(0, 2)
STEPS_MS = st.sampled_from([1, SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS + HOUR_MS, 8 * DAY_MS])
SKEWS_MS = st.sampled_from([0, HOUR_MS, -HOUR_MS, MINUTE_MS, -SECOND_MS])
# Tenant, id, policy, and whether it starts as a draft.
PLANS = (
    (1, "spring", PolicySpec("epsilon_greedy"), False),
    (2, "spring", PolicySpec("uniform"), False),
    (1, "autumn", PolicySpec("uniform"), True),
)


class Machine(RuleBasedStateMachine):
    """Two API processes and a worker, beside a model of what they owe."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.servers = Servers()
        self.processes = [Process(self.servers) for _ in range(2)]
        self.worker = WorkerProcess(self.servers)
        self.configurations: list[Configuration] = []
        self.told: list[Told] = []
        self.memory = MemoryModel()
        self.ledger = LedgerModel()
        self.drains = DrainModel()
        self.versions: dict[tuple[int, int], int] = {}  # Of (process, experiment).
        self.ledger_paused_until_ms = [0, 0]
        self.was_skewed = False
        # What was told while the memory was whole: key -> (id, when).
        self.promised: dict[bytes, tuple[str, int]] = {}
        self.fell_back: set[bytes] = set()
        for process in self.processes:
            self.drains.files[process.outbox.name] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let the service work until it answers."""
        return self.loop.run_until_complete(coroutine)

    @property
    def is_a_disk_full(self) -> bool:
        """Whether a process cannot write its outbox."""
        return any(process.outbox.is_full for process in self.processes)

    @initialize(share=st.sampled_from([0.0, 0.5]), is_paused=st.booleans())
    def begin(self, share: float, is_paused: bool) -> None:
        """Create the experiments, pause the second perhaps, and let everybody know them."""
        for tenant, name, policy, is_draft in PLANS:
            self.configurations.append(Configuration(tenant, name, policy, share, is_draft))
            wanted = self.configurations[-1].definition()
            target = Target(tenant, name, "test")
            self.run(self.processes[0].experiments.put(target, wanted))
        if is_paused:
            paused = self.configurations[1]
            target = Target(paused.tenant, paused.id, "test")
            self.run(self.processes[0].experiments.act(target, Act.PAUSE))
            paused.state = "paused"
        self.run(self.worker.restore.turn())
        for process in self.processes:
            self.run(process.tables.load())

    # ------------------------------------------------------------ faults

    @rule(mode=st.sampled_from(MODES))
    def redis_changes(self, mode: str) -> None:
        """Let Redis be there, be gone, or lose its replies."""
        self.servers.redis.mode = mode

    @rule()
    def redis_is_flushed(self) -> None:
        """Let Redis lose its memory."""
        self.servers.published.lose()
        self.servers.replays.generations = {}
        self.memory = MemoryModel()
        self.promised.clear()

    @rule(mode=st.sampled_from(MODES))
    def sql_changes(self, mode: str) -> None:
        """Let SQL be there, be gone, or lose its replies."""
        if mode != LOST or not self.is_a_disk_full:
            self.servers.sql.mode = mode

    @precondition(lambda self: self.servers.sql.mode != LOST)
    @rule(p=PROCESSES)
    def disk_fills(self, p: int) -> None:
        """Let a process write no outbox any more."""
        self.processes[p].outbox.is_full = True

    @precondition(lambda self: self.is_a_disk_full)
    @rule()
    def disks_are_emptied(self) -> None:
        """Make space again."""
        for process in self.processes:
            process.outbox.is_full = False

    @rule(by_ms=STEPS_MS)
    def time_passes(self, by_ms: int) -> None:
        """Let true time go on."""
        self.servers.time.at_ms += by_ms

    @rule(which=CLOCKS, skew_ms=SKEWS_MS)
    def clock_is_set(self, which: int, skew_ms: int) -> None:
        """Set one process's clock ahead or back."""
        self.was_skewed |= bool(skew_ms)
        clocks = [*(process.clock for process in self.processes), self.worker.clock]
        clocks[which].skew_ms = skew_ms

    @rule(p=PROCESSES)
    def api_restarts(self, p: int) -> None:
        """Kill an API process and start another on the same directory."""
        old = self.processes[p]
        self.servers.segments.closed[old.outbox.name] = self.servers.time.at_ms
        self.processes[p] = new = Process(self.servers, old.clock.skew_ms)
        self.drains.files[new.outbox.name] = []
        self.ledger_paused_until_ms[p] = 0
        self.versions = {key: v for key, v in self.versions.items() if key[0] != p}
        with suppress(UnavailableError):
            self.run(new.tables.load())

    # ------------------------------------------------------------ background turns

    @rule(p=PROCESSES)
    def api_polls(self, p: int) -> None:
        """Let a process look for newer allocations."""
        with suppress(UnavailableError):
            self.run(self.processes[p].tables.poll())

    @rule()
    def worker_restarts(self) -> None:
        """Kill the worker; the next one knows only what SQL knows."""
        self.worker = WorkerProcess(self.servers, self.worker.clock.skew_ms)

    @rule(turns=st.integers(0, 5), is_reversed=st.booleans(), limit=st.sampled_from([1, 3, 1_000]))
    def worker_drains(self, turns: int, is_reversed: bool, limit: int) -> None:
        """Commit a little of every segment, in any order."""
        names = list(self.servers.segments.files)
        turns %= max(1, len(names))
        order = names[turns:] + names[:turns]
        self.drain(order[::-1] if is_reversed else order, limit)

    @rule()
    def worker_restores(self) -> None:
        """Let the worker look after Redis."""
        is_due = not is_whole(self.servers.published._epoch)
        before = {day: dict(held) for day, held in self.servers.replays.generations.items()}
        with suppress(UnavailableError):
            self.run(self.worker.restore.turn())
        if is_due and is_whole(self.servers.published._epoch):
            rows = list(self.ledger.firsts.values())
            self.memory.restore(rows, self.worker.clock.now_ms())
        else:
            assert self.servers.replays.generations == before

    @rule()
    def worker_writes_back(self) -> None:
        """Let the worker tell Redis what was answered without it: the ledger's first answers."""
        generations = self.servers.replays.generations
        before = {day: dict(held) for day, held in generations.items()}
        with suppress(UnavailableError):
            self.run(self.worker.write_back.turn())
        for day, held in generations.items():
            for key, value in held.items():
                if before.get(day, {}).get(key) != value:
                    row, found = self.ledger.firsts[key], unpack_replay(value)
                    assert (found.variant, found.version) == (row.variant, row.version)
                    assert (found.decided_at_ms, found.holdout) == (row.at_ms, row.holdout)
                    self.memory.write(row)
                    self.promised.pop(key, None)  # Two answers were under way: this one counts.

    @rule()
    def worker_allocates(self) -> None:
        """Let the worker allocate what is due."""
        with suppress(UnavailableError):
            self.run(self.worker.schedule.tick())

    @rule()
    def worker_cleans(self) -> None:
        """Let the worker delete what was drained long ago; everything in it is in SQL."""
        segments = self.servers.segments
        segments.order, segments.removed = list(segments.files), []
        with suppress(LedgerUnavailableError):
            self.run(self.worker.drain.clean())
        for name in segments.removed:
            assert self.drains.at.get(name, 0) == len(self.drains.files.pop(name))

    def drain(self, order: Sequence[str], limit: int) -> None:
        """Take one turn of the drain, and follow where SQL is afterwards."""
        segments = self.servers.segments
        segments.order, segments.limit = order, limit
        with suppress(LedgerUnavailableError):
            self.run(self.worker.drain.turn())
        for name in order:
            position = self.run(self.servers.ledger.position(name))
            self.commit(self.drains.passed(name, position))

    def commit(self, entries: Sequence[Entry]) -> list[str]:
        """Take entries to the ledger's model; return what rewards are told."""
        return [self.ledger.take(entry) for entry in entries]

    # ------------------------------------------------------------ what always holds

    @invariant()
    def allocations_never_go_back(self) -> None:
        """Check every process's tables, which also go with their configuration."""
        for p, process in enumerate(self.processes):
            for table in process.tables.all():
                key = p, table.allocation.experiment
                assert table.allocation.version >= self.versions.get(key, 0)
                assert table.allocation.revision == table.experiment.revision
                self.versions[key] = table.allocation.version

    def teardown(self) -> None:
        """End every fault, let everybody catch up, and reckon."""
        if not self.configurations:
            return
        self.servers.sql.mode = self.servers.redis.mode = UP
        self.disks_are_emptied()
        for _ in range(TURNS_MAX):
            if not self.drains.is_empty:
                self.servers.time.at_ms += SECOND_MS
                self.drain(list(self.servers.segments.files), 1_000)
        assert self.drains.is_empty
        self.worker_restores()
        for _ in range(3):
            self.servers.time.at_ms += MINUTE_MS
            self.worker_allocates()
            for p in range(2):
                self.api_polls(p)
        self.allocations_never_go_back()
        self.run(Reckoning(self.servers, self.ledger, self.told).all(self.processes))
