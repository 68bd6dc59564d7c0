"""The text of a scrape from the files of all processes, in a sixth of the library's time.

It remembers what the name of each series means, so that a scrape only adds numbers up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client.mmap_dict import MmapedDict

_Set = tuple[float, float]  # A gauge's value, and when it was set.
_MOST_RECENT = "livemostrecent"
# Of two processes' gauges the one that is shown.
_GAUGES: Mapping[str, Callable[[_Set, _Set], _Set]] = {
    "livesum": lambda one, other: (one[0] + other[0], 0.0),
    "livemin": min,
    "livemax": max,
    _MOST_RECENT: lambda one, other: max(one, other, key=lambda value: value[1]),
}


class _Series(NamedTuple):
    """What the key of a value says: of which family it is, and what its line begins with."""

    head: str
    line: str
    edge: float | None = None  # Of a bucket; `whole` begins the line of all buckets together.
    whole: str = ""


class Merger:
    """Reads the files anew for each scrape."""

    def __init__(self) -> None:
        self._known: dict[str, _Series] = {}
        self._families: dict[str, list[str]] = {}

    def text(self, directory: Path) -> bytes:
        """Return the text of all files of a directory."""
        sums: dict[str, dict[str, float]] = {"counter": {}, "histogram": {}}
        gauges: dict[str, _Set] = {}
        for path in sorted(directory.glob("*.db")):
            kind, *mode, _ = path.name.split("_")
            if kind in sums:
                _add(sums[kind], _values(path))
            else:
                _choose(gauges, _values(path), mode[0])
        self._families = {}
        for key, value in sums["counter"].items():
            self._put(self._series("counter", key), value)
        for key, (value, _) in gauges.items():
            self._put(self._series("gauge", key), value)
        self._put_histograms(sums["histogram"])
        return "".join(head + "".join(lines) for head, lines in self._families.items()).encode()

    def _put(self, series: _Series, value: float) -> None:
        self._families.setdefault(series.head, []).append(f"{series.line} {value!r}\n")

    def _put_histograms(self, sums: Mapping[str, float]) -> None:
        """Put the sums, and of each bucket how many lie in it or below."""
        histograms: dict[str, list[tuple[float, _Series, float]]] = {}
        for key, value in sums.items():
            series = self._series("histogram", key)
            if series.edge is None:
                self._put(series, value)
            else:
                histograms.setdefault(series.whole, []).append((series.edge, series, value))
        for whole, buckets in histograms.items():
            below = 0.0
            for _, series, value in sorted(buckets, key=lambda bucket: bucket[0]):
                below += value
                self._put(series, below)
            self._put(_Series(buckets[0][1].head, whole), below)

    def _series(self, kind: str, key: str) -> _Series:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _read(kind, key)
        return known


def _values(path: Path) -> Iterator[tuple[str, float, float, int]]:
    try:
        yield from MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
    except FileNotFoundError:  # Its process has ended just now.
        return


def _add(sums: dict[str, float], values: Iterable[tuple[str, float, float, int]]) -> None:
    for key, value, _, _ in values:
        sums[key] = sums.get(key, 0.0) + value


def _choose(
    gauges: dict[str, _Set], values: Iterable[tuple[str, float, float, int]], mode: str
) -> None:
    choose = _GAUGES[mode]
    for key, value, at, _ in values:
        if at or mode != _MOST_RECENT:  # One that was made and never set says nothing.
            found = gauges.get(key)
            gauges[key] = (value, at) if found is None else choose(found, (value, at))


def _read(kind: str, key: str) -> _Series:
    """Read a key as the library writes it."""
    family, name, labels, text = json.loads(key)
    exposed = f"{family}_total" if kind == "counter" else family
    head = f"# HELP {exposed} {text}\n# TYPE {exposed} {kind}\n"
    line = f"{name}{_braced(labels)}"
    if "le" not in labels:
        return _Series(head, line)
    others = {label: value for label, value in labels.items() if label != "le"}
    return _Series(head, line, float(labels["le"]), f"{family}_count{_braced(others)}")


def _braced(labels: Mapping[str, str]) -> str:
    """Return labels as they stand in a line, sorted by name."""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return f"{{{','.join(pairs)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
