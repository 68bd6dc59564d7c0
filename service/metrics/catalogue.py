"""What operators see of a process: counters, gauges and histograms; docs/metrics.md lists them.

What every request touches is counted in plain dictionaries and handed to the metrics library by
`flush`, twice a second and before each scrape: that costs a request under a microsecond.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from service.metrics.buffers import Buffered, Distribution
from service.metrics.circuits import CircuitMetrics
from service.metrics.connections import ConnectionMetrics
from service.metrics.overload import OverloadMetrics
from service.metrics.privacy import PrivacyMetrics
from service.metrics.shared import render_shared

# Edges at the promises: 10 ms and 100 ms of the SLA, 2 s an e-mail template waits.
SECONDS_EDGES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SIZE_EDGES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
EXPERIMENT_LABELS_MAX = 500  # More experiments than this share one label.
UNMATCHED = "unmatched"  # Paths that are no route of ours are never labels.
OTHER_EXPERIMENTS = "_other"  # No id starts with an underscore.

# Nobody asks when a series began, and each would be one more line of every scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]

GaugeMode = Literal["livemostrecent", "livemin", "livesum"]


class Metrics:
    """Every metric of the service; one object per process."""

    def __init__(self, multiprocess_dir: Path | None = None) -> None:
        """`multiprocess_dir` is where the supervisor told the library to share its values."""
        self.registry = CollectorRegistry()
        self._multiprocess_dir = multiprocess_dir
        self._experiments: set[str] = set()
        self._tallies: dict[Counter, Tally[tuple[str | int, ...]]] = {}
        self._make_serving()
        self._make_worker()
        self._make_allocations()
        self.overload = OverloadMetrics(self.registry)
        self.connections = ConnectionMetrics(self.registry)
        self.privacy = PrivacyMetrics(self.registry)
        self.circuits = CircuitMetrics(self.registry)
        # A series that begins with its first failure shows no increase then.
        for reason in ("redis", "deadline"):
            self._fallbacks.labels(reason)
        for kind in ("choice", "reward"):
            self._outbox_failures.labels(kind)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="promobandit", registry=self.registry)

    def _gauge(
        self, name: str, text: str, *labels: str, mode: GaugeMode = "livemostrecent"
    ) -> Gauge:
        return Gauge(
            name,
            text,
            labels,
            namespace="promobandit",
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def _histogram(self, name: str, text: str, label: str, edges: Sequence[float]) -> Buffered:
        target = Distribution(
            name, text, (label,), namespace="promobandit", registry=self.registry, buckets=edges
        )
        return Buffered(target, edges)

    def _make_serving(self) -> None:
        c = self._counter
        self._decisions = c("decisions", "Answers given", "experiment", "source")
        self._replays = c("replays", "Answers given before and given again")
        self._fallbacks = c("fallbacks", "Answers given without Redis", "reason")
        self._rewards = c("rewards", "Rewards received", "experiment", "status")
        self._requests = c("requests", "HTTP requests answered", "route", "status")
        self._outbox_failures = c("outbox_failures", "Appends that failed", "kind")
        self._seconds = self._histogram(
            "request_seconds", "Time from request to answer", "route", SECONDS_EDGES
        )
        self._sizes = self._histogram(
            "batch_size", "Requests handled as one batch", "kind", SIZE_EDGES
        )
        # Made by the first poll: the 0 of a process that never polls would be the least of all.
        self._polled: Gauge | None = None

    def _make_worker(self) -> None:
        c, g = self._counter, self._gauge
        self._outbox_bytes = g("outbox_bytes", "Bytes of the outbox not yet in the ledger")
        self._outbox_age = g("outbox_age_seconds", "Age of the oldest record not in the ledger")
        self._lag = g("ledger_lag_seconds", "Age of the last record when it was committed")
        self._drained = c("drained_records", "Outbox records committed to the ledger", "kind")
        self._quarantined = c("quarantined_records", "Records that the ledger can never take")
        self._damaged = c("damaged_records", "Outbox records that failed their checksum")
        self._conflicts = c("conflicting_answers", "Answers that differ from the key's first one")
        self._ledger_failures = c("ledger_failures", "Drain transactions that SQL did not take")
        self._went_back = c("ledger_went_back", "Segments that SQL had lost some of")
        self._removed_early = c("segments_removed_early", "Drained segments deleted to make room")
        self._adopted = c("adopted_allocations", "Allocations put back into SQL from Redis")
        self._written_back = c("written_back_decisions", "Fallback answers told to Redis later")
        self._audit_difference = g("audit_difference", "Evidence measures that a recount denies")
        self._audits = c("audit_runs", "Recounts of all evidence")
        self._restores = c("restore_runs", "Restorations of Redis from the ledger")
        self._restored = c("restored_decisions", "Decisions written back to the replay memory")
        self._loop_success = g(
            "loop_success_timestamp_seconds", "When a loop of the worker last succeeded", "loop"
        )
        self._loop_failures = c("loop_failures", "Turns of a worker's loop that failed", "loop")

    def _make_allocations(self) -> None:
        c, g = self._counter, self._gauge
        self._written = c("allocations_written", "Allocation versions written")
        self._allocation_failures = c("allocation_failures", "Allocations that failed")
        self._version = g("allocation_version", "Version in force", "experiment")
        self._allocated = g(
            "allocation_timestamp_seconds", "When the version in force was made", "experiment"
        )
        self._propensity = g(
            "allocation_propensity", "Propensity in force", "experiment", "variant"
        )

    # ---- serving: called for every batch or request

    def decided(self, experiment: str, source: str, count: int) -> None:
        """Count answers."""
        self._tally(self._decisions, (self._experiment(experiment), source), count)

    def replayed(self, count: int) -> None:
        """Count answers that were given before."""
        self._tally(self._replays, (), count)

    def fell_back(self, reason: str, count: int) -> None:
        """Count answers that Redis had no part in, and why."""
        self._fallbacks.labels(reason).inc(count)

    def rewarded(self, experiment: str, status: str, count: int) -> None:
        """Count rewards by outcome."""
        self._tally(self._rewards, (self._experiment(experiment), status), count)

    def requested(self, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request and its time; `route` is the template, never the path."""
        self._tally(self._requests, (route, status), 1)
        self._seconds.observe(route, seconds)

    def refused(self, status: int) -> None:
        """Count a request that was refused before its path was looked at."""
        self.requested(UNMATCHED, status, 0.0)

    def batch_size(self, kind: str, count: int) -> None:
        """Count how many requests were handled together."""
        self._sizes.observe(kind, count)

    def outbox_failed(self, kind: str) -> None:
        """Count an append that failed."""
        self._outbox_failures.labels(kind).inc()

    def tables_polled(self, at_ms: int) -> None:
        """Note that this process has seen the newest allocations."""
        if self._polled is None:
            self._polled = self._gauge(
                "tables_polled_timestamp_seconds",
                "When the process that is furthest behind last looked for newer allocations",
                mode="livemin",
            )
        self._polled.set(at_ms / 1_000)

    # ---- worker

    def outbox_backlog(self, size: int, age_seconds: float) -> None:
        """Note what of the outbox is not in the ledger yet."""
        self._outbox_bytes.set(size)
        self._outbox_age.set(age_seconds)

    def drained(self, kind: str, count: int) -> None:
        """Count records committed to the ledger."""
        self._drained.labels(kind).inc(count)

    def committed(self, lag_seconds: float, conflicts: int) -> None:
        """Note how late a transaction was and how many of its answers differed."""
        self._lag.set(lag_seconds)
        self._conflicts.inc(conflicts)

    def quarantined(self) -> None:
        """Count a record put aside."""
        self._quarantined.inc()

    def damaged(self, count: int) -> None:
        """Count records that cannot be read."""
        self._damaged.inc(count)

    def ledger_failed(self) -> None:
        """Count a drain transaction that failed."""
        self._ledger_failures.inc()

    def ledger_went_back(self) -> None:
        """Count a segment of which SQL had lost something."""
        self._went_back.inc()

    def removed_early(self) -> None:
        """Count a drained segment that was deleted before its hour was over."""
        self._removed_early.inc()

    def adopted(self) -> None:
        """Count an allocation that Redis had and SQL had lost."""
        self._adopted.inc()

    def written_back(self, count: int) -> None:
        """Count answers given without Redis that it was told later."""
        self._written_back.inc(count)

    def audited(self, differences: int) -> None:
        """Note the outcome of a recount."""
        self._audit_difference.set(differences)
        self._audits.inc()

    def restored(self, decisions: int) -> None:
        """Count a restoration of Redis."""
        self._restores.inc()
        self._restored.inc(decisions)

    def loop_succeeded(self, loop: str, at_ms: int) -> None:
        """Note that a loop is alive."""
        self._loop_failures.labels(loop)
        self._loop_success.labels(loop).set(at_ms / 1_000)

    def loop_failed(self, loop: str) -> None:
        """Count a turn of a loop that failed."""
        self._loop_failures.labels(loop).inc()

    # ---- allocations

    def allocation_written(self) -> None:
        """Count a new version."""
        self._written.inc()

    def allocation_failed(self) -> None:
        """Count an experiment that could not be allocated."""
        self._allocation_failures.inc()

    def in_force(
        self, experiment: str, version: int, created_at_ms: int, propensities: dict[str, float]
    ) -> None:
        """Note an experiment's allocation; beyond the label limit, nothing."""
        if self._experiment(experiment) == OTHER_EXPERIMENTS:
            return
        self._version.labels(experiment).set(version)
        self._allocated.labels(experiment).set(created_at_ms / 1_000)
        for variant, propensity in propensities.items():
            self._propensity.labels(experiment, variant).set(propensity)

    # ---- scrape

    def flush(self) -> None:
        """Hand what requests counted to the library."""
        tallies, self._tallies = self._tallies, {}
        for counter, tally in list(tallies.items()):
            for labels, count in list(tally.items()):
                (counter.labels(*labels) if labels else counter).inc(count)
        self._seconds.flush()
        self._sizes.flush()
        self.overload.flush()

    def render(self) -> tuple[bytes, str]:
        """Return the text of a scrape, summed over the processes, and its content type.

        It may run on any thread; `flush`, which comes first, belongs to the event loop's.
        """
        if self._multiprocess_dir is not None:
            return render_shared(self._multiprocess_dir), CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _tally(self, counter: Counter, labels: tuple[str | int, ...], count: int) -> None:
        tally = self._tallies.get(counter)
        if tally is None:
            tally = self._tallies[counter] = Tally()
        tally[labels] += count

    def _experiment(self, experiment: str) -> str:
        if experiment in self._experiments:
            return experiment
        if len(self._experiments) < EXPERIMENT_LABELS_MAX:
            self._experiments.add(experiment)
            return experiment
        return OTHER_EXPERIMENTS
