"""Look at the service's processes while they work: memory, descriptors, and the way they go."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import psutil

from loadtests.load.verdict import Growth

EVERY_SECONDS = 5.0
# Caches fill, pools open and every kind of request is met once: what a process holds from then on
# is what it needs. The two windows compared are the first and the last fifth of the rest.
WARM_UP_SHARE = 0.25
WINDOW_SHARE = 0.2
DATA = "redis"  # Its memory is the data itself: it grows with every decision, by design.


@dataclass(frozen=True, slots=True)
class Sample:
    """What one role's processes held together at a moment."""

    at: float
    role: str
    processes: int
    unique: int  # Bytes that would be free if they ended (USS).
    resident: int  # Bytes, what is shared counted in each (RSS).
    descriptors: int  # Without those of clients, who come and go as they like.
    busy: float  # Seconds of processor time since the start.


@dataclass(frozen=True, slots=True)
class Use:
    """What one role's processes took all the time."""

    role: str
    processes: int
    cores: float  # Of processor time, on average.
    unique: float  # Bytes, at the end.
    resident: float


@dataclass(slots=True)
class Watch:
    """Samples of a service, taken in a thread until it is told to stop."""

    supervisor: int
    every_seconds: float = EVERY_SECONDS
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Take samples until told to stop."""
        started = perf_counter()
        while not self._stop.is_set():
            self.look(perf_counter() - started)
            self._stop.wait(self.every_seconds)

    def look(self, at: float) -> None:
        """Take a sample of each role; when a process ends just then, the next look has to do."""
        with suppress(psutil.Error):
            self.samples += sampled(self.supervisor, at)

    def stop(self) -> None:
        """Take no more samples."""
        self._stop.set()


@contextmanager
def watching(supervisor: int, every_seconds: float = EVERY_SECONDS) -> Iterator[Watch]:
    """Watch a service until the block ends."""
    watch = Watch(supervisor, every_seconds)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def sampled(supervisor: int, at: float) -> list[Sample]:
    """Look at all processes of a service now, summed up by role."""
    parent = psutil.Process(supervisor)
    by_role: dict[str, list[psutil.Process]] = {}
    for process in [parent, *parent.children(recursive=True)]:
        by_role.setdefault(role_of(process), []).append(process)
    return [_sample(at, role, processes) for role, processes in by_role.items()]


def role_of(process: psutil.Process) -> str:
    """Tell what a process of the service is there for."""
    return role_in(process.cmdline())


def role_in(words: Sequence[str]) -> str:
    """Tell the same from a command line."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "service":  # python -m service api ..
            return following
        if word.startswith("service."):  # python -m service.metrics.scraper ..
            return word.rpartition(".")[2]
    name = " ".join(words[:1])
    return DATA if "redis" in name or "valkey" in name else "other"


def own_descriptors(process: psutil.Process) -> int:
    """Count what a process has open, but for the connections its clients have open too."""
    connections = process.net_connections("tcp")
    ports = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    clients = sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port in ports for each in connections
    )
    count: int = process.num_fds() - clients
    return count


def uses_of(samples: Sequence[Sample]) -> list[Use]:
    """Return what each role took from the first sample to the last."""
    first: dict[str, Sample] = {}
    last: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.role, sample)
        last[sample.role] = sample
    return [
        Use(role, end.processes, _cores(first[role], end), end.unique, end.resident)
        for role, end in sorted(last.items())
    ]


def _cores(first: Sample, last: Sample) -> float:
    return (last.busy - first.busy) / (last.at - first.at) if last.at > first.at else 0.0


def growth_of(samples: Sequence[Sample]) -> list[Growth]:
    """Compare what each role held after the warm-up with what it held at the end.

    Each is the median of a window, so that no single collection, batch or page decides. Redis is
    left out: it holds the data. So is who was there for a moment only.
    """
    roles = sorted({sample.role for sample in samples} - {DATA})
    return [growth for role in roles if (growth := _growth(samples, role)) is not None]


def data_growth_of(samples: Sequence[Sample]) -> Growth | None:
    """Return the same of Redis: it is told and not judged."""
    return _growth(samples, DATA)


def _growth(samples: Sequence[Sample], role: str) -> Growth | None:
    """Return a role's growth, None when it was not there in both windows."""
    end = max((sample.at for sample in samples), default=0.0)
    warm = WARM_UP_SHARE * end
    window = WINDOW_SHARE * (end - warm)
    own = [sample for sample in samples if sample.role == role]
    before = [sample for sample in own if warm <= sample.at <= warm + window]
    after = [sample for sample in own if sample.at >= end - window]
    if not before or not after:
        return None
    return Growth(
        role,
        memory_before=median(sample.unique for sample in before),
        memory_after=median(sample.unique for sample in after),
        descriptors_before=median(sample.descriptors for sample in before),
        descriptors_after=median(sample.descriptors for sample in after),
    )


def _sample(at: float, role: str, processes: Sequence[psutil.Process]) -> Sample:
    memories = [process.memory_full_info() for process in processes]
    return Sample(
        at,
        role,
        len(processes),
        unique=sum(memory.uss for memory in memories),
        resident=sum(memory.rss for memory in memories),
        descriptors=sum(own_descriptors(process) for process in processes),
        busy=sum(sum(process.cpu_times()[:2]) for process in processes),
    )
