"""Makes the metrics of a process, all with one prefix and in one registry."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from service.metrics.buffers import Buffered, Distribution

# Nobody asks when a series began, and each would be one more line of every scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]

GaugeMode = Literal["livemostrecent", "livemin", "livemax", "livesum"]

_NAMESPACE = "promobandit"


class Instruments:
    """Makes counters, gauges and histograms; `flush` hands on what was only tallied."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tallies: dict[Counter, Tally[tuple[str | int, ...]]] = {}
        self._buffered: list[Buffered] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return a counter."""
        return Counter(name, text, labels, namespace=_NAMESPACE, registry=self.registry)

    def gauge(
        self, name: str, text: str, *labels: str, mode: GaugeMode = "livemostrecent"
    ) -> Gauge:
        """Return a gauge; `mode` says what the values of several processes come to."""
        return Gauge(
            name,
            text,
            labels,
            namespace=_NAMESPACE,
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def histogram(self, name: str, text: str, edges: Sequence[float], *label: str) -> Buffered:
        """Return a histogram of at most one label, which is filled from a buffer."""
        target = Distribution(
            name, text, label, namespace=_NAMESPACE, registry=self.registry, buckets=edges
        )
        buffered = Buffered(target, edges)
        self._buffered.append(buffered)
        return buffered

    def tally(self, counter: Counter, labels: tuple[str | int, ...], count: int) -> None:
        """Count for a fraction of a microsecond; the counter learns of it at the next flush."""
        tally = self._tallies.get(counter)
        if tally is None:
            tally = self._tallies[counter] = Tally()
        tally[labels] += count

    def flush(self) -> None:
        """Hand what was counted to the library."""
        tallies, self._tallies = self._tallies, {}
        for counter, tally in list(tallies.items()):
            for labels, count in list(tally.items()):
                (counter.labels(*labels) if labels else counter).inc(count)
        for buffered in self._buffered:
            buffered.flush()
