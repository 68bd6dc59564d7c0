"""The directory in which processes share their metrics: read as a whole, and kept from growing."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_LOCK = "lock"
_SUMMED = ("counter", "histogram")
_NOBODY = 0  # The process id under which those that ended are summed up.


def render_shared(directory: Path) -> bytes:
    """Return the text of a scrape, summed over the processes that live and lived."""
    registry = CollectorRegistry()
    with _locked(directory, fcntl.LOCK_SH):
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_process(directory: Path, pid: int) -> None:
    """Drop the gauges of a process that ended, and add what it counted to the others' that did.

    So a service that restarts its processes every day has as many files as one that never does.
    """
    with _locked(directory, fcntl.LOCK_EX):
        mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        for kind in _SUMMED:
            ended = directory / f"{kind}_{pid}.db"
            if ended.exists():
                _add(ended, directory / f"{kind}_{_NOBODY}.db")
                ended.unlink()


def _add(ended: Path, sums: Path) -> None:
    values = MmapedDict.read_all_values_from_file(ended)  # type: ignore[no-untyped-call]
    with closing(MmapedDict(sums)) as total:  # type: ignore[no-untyped-call]
        for key, value, at, _ in values:
            total.write_value(key, total.read_value(key)[0] + value, at)  # type: ignore[no-untyped-call]


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Keep a scrape from meeting a count twice, or not at all, while it moves."""
    with (directory / _LOCK).open("a") as lock:
        fcntl.flock(lock, how)
        yield
