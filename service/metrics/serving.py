"""What operators see of choices, rewards and requests; it costs each under a microsecond."""

from __future__ import annotations

from prometheus_client import Gauge

from service import sla
from service.metrics.instruments import Instruments
from service.metrics.page import EXPERIMENT_LABELS_MAX
from service.metrics.service_levels import ServiceLevelMetrics

UNMATCHED = "unmatched"  # Paths that are no route of ours are never labels.
OTHER_EXPERIMENTS = "_other"  # No id starts with an underscore.

# What is promised of a request, in seconds: each is an edge, so that a share can be read exactly.
PROMISED_SECONDS = frozenset(
    milliseconds / 1_000
    for milliseconds in (
        *(objective.threshold_ms for objective in sla.OBJECTIVES),
        *(objective.p99_ms for objective in sla.OBJECTIVES if objective.p99_ms is not None),
        sla.CHOOSE_P99_MS,
        sla.CHOOSE_REDIS_DEADLINE_MS,
        sla.CHOOSE_FAULT_MS,
        sla.OVERLOAD_P99_MS,
        sla.REWARD_P99_MS,
        sla.REWARD_SQL_DEADLINE_MS,
        sla.TEMPLATE_BUDGET_MS,
    )
)
_STEPS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SECONDS_EDGES = tuple(sorted(PROMISED_SECONDS.union(_STEPS)))
SIZE_EDGES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
# From a minute to thirty days, in seconds.
LAG_EDGES = (
    *(minutes * 60.0 for minutes in (1, 5, 15)),
    *(hours * 3_600.0 for hours in (1, 4, 12)),
    *(days * 86_400.0 for days in (1, 2, 4, 7, 14, 30)),
)


class ServingMetrics:
    """What API processes count."""

    def __init__(self, instruments: Instruments) -> None:
        c, h = instruments.counter, instruments.histogram
        self._gauge, self._tally = instruments.gauge, instruments.tally
        self._experiments: set[str] = set()
        self.service_levels = ServiceLevelMetrics(instruments)
        self._decisions = c("decisions", "Answers given", "experiment", "source")
        self._replays = c("replays", "Answers given before and given again")
        self._fallbacks = c("fallbacks", "Answers given without Redis", "reason")
        self._rewards = c("rewards", "Rewards received", "experiment", "status")
        self._requests = c("requests", "HTTP requests answered", "route", "status")
        self._outbox_failures = c("outbox_failures", "Appends that failed", "kind")
        self._seconds = h("request_seconds", "Time from request to answer", SECONDS_EDGES, "route")
        self._sizes = h("batch_size", "Requests handled as one batch", SIZE_EDGES, "kind")
        self._lag = h(
            "reward_lag_seconds", "Time from a decision to its reward's report", LAG_EDGES
        )
        self._delivery = h("reward_delivery_seconds", "Time from an event to its report", LAG_EDGES)
        # Made by the first poll: the 0 of a process that never polls would be the least of all.
        self._polled: Gauge | None = None
        # A series that begins with its first failure shows no increase then.
        for reason in ("redis", "deadline"):
            self._fallbacks.labels(reason)
        for kind in ("choice", "reward"):
            self._outbox_failures.labels(kind)

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

    def reward_arrived(self, lag_ms: int, delivery_ms: int | None) -> None:
        """Note how long after its decision, and after its event, a reward was reported.

        Clocks that disagree make it 0, never negative.
        """
        self._lag.observe("", max(0, lag_ms) / 1_000)
        if delivery_ms is not None:
            self._delivery.observe("", max(0, delivery_ms) / 1_000)

    def requested(self, route: str, status: int, seconds: float, method: str = "") -> None:
        """Count an HTTP request and its time; `route` is the template, never the path."""
        self._tally(self._requests, (route, status), 1)
        self._seconds.observe(route, seconds)
        self.service_levels.answered(method, route, status, seconds)

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

    def _experiment(self, experiment: str) -> str:
        if experiment in self._experiments:
            return experiment
        if len(self._experiments) < EXPERIMENT_LABELS_MAX:
            self._experiments.add(experiment)
            return experiment
        return OTHER_EXPERIMENTS
