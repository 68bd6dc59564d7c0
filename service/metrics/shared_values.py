"""Values of metrics that other processes can read, in files of this process alone."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import ClassVar

from prometheus_client.mmap_dict import MmapedDict, mmap_key


class _Files:
    """The files of one process, one for each kind of metric, made with its first value."""

    def __init__(self, directory: Path, identity: str) -> None:
        self._directory = directory
        self._identity = identity
        self._by_kind: dict[str, MmapedDict] = {}
        self.lock = Lock()

    def of_kind(self, kind: str) -> MmapedDict:
        """Return the file of a kind; the lock is held."""
        if kind not in self._by_kind:
            path = self._directory / f"{kind}_{self._identity}.db"
            self._by_kind[kind] = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        return self._by_kind[kind]


class SharedValue:
    """A number in a mapped file, made by the library for each series."""

    _multiprocess = True
    _files: ClassVar[_Files]

    def __init__(self, typ: str, *names: object, multiprocess_mode: str = "", **_: object) -> None:
        kind = f"gauge_{multiprocess_mode}" if typ == "gauge" else typ
        self._key = mmap_key(*names)  # type: ignore[arg-type]
        with self._files.lock:
            self._file = self._files.of_kind(kind)
            self._value: float = self._file.read_value(self._key)[0]  # type: ignore[no-untyped-call]

    def inc(self, amount: float) -> None:
        """Add to it."""
        with self._files.lock:
            self._write(self._value + amount, 0.0)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Replace it; of several processes' gauges the newest timestamp may win."""
        with self._files.lock:
            self._write(value, timestamp or 0.0)

    def get(self) -> float:
        """Return it."""
        return self._value

    def set_exemplar(self, exemplar: object) -> None:
        """Keep none: files have no place for them."""

    def get_exemplar(self) -> None:
        """Return none."""

    def _write(self, value: float, at: float) -> None:
        self._value = value
        self._file.write_value(self._key, value, at)  # type: ignore[no-untyped-call]


def shared_value_class(directory: Path, identity: str) -> type[SharedValue]:
    """Return what the library is to keep values in.

    Its own class takes the directory from the environment and names files by process id.
    """
    return type("OwnSharedValue", (SharedValue,), {"_files": _Files(directory, identity)})
