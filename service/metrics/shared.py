"""The directory in which processes share their metrics, and in which none outlives its process.

A process has files of its own there, and a lock that it holds as long as it lives: process ids
would not tell who lives, for two containers that share a volume have the same ones.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import IO, cast

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.values import MutexValue

from service.metrics.merging import Merger
from service.metrics.page import PageFile, newest_page
from service.metrics.shared_values import shared_value_class

_LOCK = "lock"
_LIVES = ".lives"
_SUMMED = ("counter", "histogram")
_ENDED = "ended"  # Under this name those that ended are summed up.

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SharedMetrics:
    """A process's part of the directory."""

    directory: Path
    identity: str
    _lives: IO[bytes]  # Locked, and never closed: the kernel does it when the process ends.

    @property
    def page(self) -> PageFile:
        """Where this process writes the learning page, if it is the one that does."""
        return PageFile(self.directory, self.identity)


def join(directory: Path, role: str) -> SharedMetrics | None:
    """Let this process's metrics be shared: those it makes from now on are.

    Whoever finds nobody there begins anew: counters start at 0 with the service. A directory that
    cannot be written keeps nobody from serving: then its metrics are its own, and None is returned.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = f"{role}-{token_hex(6)}"  # The library splits names at underscores.
        with _locked(directory, fcntl.LOCK_EX):
            if not _sweep(directory):
                _clear(directory)
            lives = (directory / f"{identity}{_LIVES}").open("ab")
            fcntl.flock(lives, fcntl.LOCK_EX)
    except OSError as error:
        _log.error("metrics_not_shared", reason=type(error).__name__)
        return None
    values.ValueClass = cast(type[MutexValue], shared_value_class(directory, identity))
    return SharedMetrics(directory, identity, lives)


def render_shared(directory: Path, merger: Merger | None = None) -> bytes:
    """Return the text of a scrape, summed over the processes that live and lived.

    A merger that has done it before is faster.
    """
    sweep(directory)
    with _locked(directory, fcntl.LOCK_SH):
        return (merger or Merger()).text(directory) + newest_page(directory)


def sweep(directory: Path) -> None:
    """Drop the gauges of processes that ended, and keep what they counted in files of all such.

    So a service that restarts its processes every day has as many files as one that never does.
    """
    if any(not _is_locked(lives) for lives in directory.glob(f"*{_LIVES}")):
        with _locked(directory, fcntl.LOCK_EX):
            _sweep(directory)


def _sweep(directory: Path) -> int:
    """Forget each process that ended; return how many live."""
    living = 0
    for lives in list(directory.glob(f"*{_LIVES}")):
        if _is_locked(lives):
            living += 1
        else:
            _forget(directory, lives.name.removesuffix(_LIVES))
            lives.unlink()
    return living


def _forget(directory: Path, identity: str) -> None:
    mark_process_dead(identity, str(directory))  # type: ignore[no-untyped-call]
    PageFile(directory, identity).remove()
    for kind in _SUMMED:
        ended = directory / f"{kind}_{identity}.db"
        if ended.exists():
            _add(ended, directory / f"{kind}_{_ENDED}.db")
            ended.unlink()


def _add(ended: Path, sums: Path) -> None:
    found = MmapedDict.read_all_values_from_file(ended)  # type: ignore[no-untyped-call]
    with closing(MmapedDict(sums)) as total:  # type: ignore[no-untyped-call]
        for key, value, at, _ in found:
            total.write_value(key, total.read_value(key)[0] + value, at)  # type: ignore[no-untyped-call]


def _clear(directory: Path) -> None:
    for pattern in ("*.db", "*.prom"):
        for left in directory.glob(pattern):
            left.unlink()


def _is_locked(lives: Path) -> bool:
    """Whether the process whose file it is lives."""
    try:
        with lives.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # Somebody swept it away just now.
        return True
    return False


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Keep a scrape from meeting a count twice, or not at all, while it moves."""
    with (directory / _LOCK).open("a") as lock:
        fcntl.flock(lock, how)
        yield
