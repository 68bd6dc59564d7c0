"""The learning page: per-experiment figures that one worker writes and every scrape shows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

EXPERIMENT_LABELS_MAX = 2_000  # More experiments than this share one label, or have none.
_PREFIX, _SUFFIX = "learning_", ".prom"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of the page; its name lacks the prefix, and has the `_total` of a counter."""

    name: str
    text: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        """What a scrape calls it."""
        return f"promobandit_{self.name}"

    @property
    def head(self) -> str:
        """The lines above its series."""
        return f"# HELP {self.exposed_name} {self.text}\n# TYPE {self.exposed_name} {self.kind}\n"

    @property
    def template(self) -> str:
        """The line of a series, to be filled with the labels' values and the number."""
        labels = ",".join(f'{label}="%s"' for label in self.labels)
        return f"{self.exposed_name}{{{labels}}} %r\n" if labels else f"{self.exposed_name} %r\n"


TIMESTAMP = Family("learning_page_timestamp_seconds", "When the worker wrote its page", "gauge")


class Page:
    """Takes figures in any order; its text has them by family, as Prometheus wants them."""

    def __init__(self, experiments_max: int = EXPERIMENT_LABELS_MAX) -> None:
        """Of more experiments than `experiments_max` the page has the first ones it was given."""
        self._experiments_max = experiments_max
        self._experiments: set[str] = set()
        self._series: dict[Family, tuple[str, list[str]]] = {}

    def put(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Add a series; a label `experiment` comes first and is the experiment's `label_of`.

        What is no number is left out: a figure that is not known is no series.
        """
        if not isfinite(value) or (family.labels[:1] == ("experiment",) and self._is_full(labels)):
            return
        series = self._series.get(family)
        if series is None:
            series = self._series[family] = (family.template, [])
        template, lines = series
        # Ids hold nothing that needs escaping, nor do the labels that are ours.
        lines.append(template % (*labels, float(value)))

    def text(self) -> bytes:
        """Return the page in the exposition format."""
        parts = [family.head + "".join(lines) for family, (_, lines) in self._series.items()]
        return "".join(parts).encode()

    def _is_full(self, labels: tuple[str, ...]) -> bool:
        experiment = labels[0]
        if experiment in self._experiments:
            return False
        if len(self._experiments) >= self._experiments_max:
            return True
        self._experiments.add(experiment)
        return False


# It runs beside the event loop, in a thread: it copies what others may change before it walks it.
Writer = Callable[[Page], None]


class PageFile:
    """Where a process writes its page: whoever reads it sees all of one writing, never a part."""

    def __init__(self, directory: Path, identity: str) -> None:
        self._directory = directory
        self._path = directory / f"{_PREFIX}{identity}{_SUFFIX}"
        self._new = self._path.with_suffix(".new")

    def write(self, text: bytes) -> None:
        """Put a text in place of the one before."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._new.write_bytes(text)
        self._new.replace(self._path)

    def read(self) -> bytes:
        """Return the text, empty when there is none."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def remove(self) -> None:
        """Take it away: another process writes one now, or nobody."""
        for path in (self._path, self._new):
            path.unlink(missing_ok=True)


def newest_page(directory: Path) -> bytes:
    """Return the page that was written last: two would have the same series twice."""
    written: dict[float, Path] = {}
    for path in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            written[path.stat().st_mtime] = path
    for _, path in sorted(written.items(), reverse=True):
        with suppress(FileNotFoundError):  # Its worker has taken it away just now.
            return path.read_bytes()
    return b""
