"""What operators see of the promises: good and bad answers, and the levels they amount to.

An answer is counted in lists, for a fraction of a microsecond; twice a second they are handed on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Mapping

from service.domain.service_levels import Bucket
from service.metrics.instruments import Instruments
from service.sla import OBJECTIVES, Objective, objective_of

_STEPS_PER_DECADE = 12  # 21 % from edge to edge: an interpolated quantile errs by 10 % at most.
_FIRST_US, _DECADES = 100, 5
_PROMISED_US = {round(ms * 1_000) for o in OBJECTIVES for ms in (o.threshold_ms, o.p99_ms) if ms}
# From 0.1 ms to 10 s; each promised time is an edge, so that nothing promised is interpolated.
EDGES_US: tuple[int, ...] = tuple(
    sorted(
        {
            round(_FIRST_US * 10 ** (step / _STEPS_PER_DECADE))
            for step in range(_DECADES * _STEPS_PER_DECADE + 1)
        }
        | _PROMISED_US
    )
)
ABOVE_US = 10**12  # The edge of what is above all edges.
_EDGES = tuple(edge / 1_000_000 for edge in EDGES_US)
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
VERDICTS = ("good", "bad")


class _Answers:
    """Answers of one objective that wait for `flush`: counts by edge, the last one for above."""

    __slots__ = ("bad", "good", "in_time")

    def __init__(self, objective: Objective) -> None:
        self.good = [0] * (len(_EDGES) + 1)
        self.bad = [0] * (len(_EDGES) + 1)
        self.in_time = EDGES_US.index(objective.threshold_ms * 1_000)  # The last bucket that is.


class ServiceLevelMetrics:
    """Counts answers by the promises of `service.sla`, and shows the levels when told."""

    def __init__(self, instruments: Instruments) -> None:
        self._answers = {objective.name: _Answers(objective) for objective in OBJECTIVES}
        self._by_route: dict[tuple[str, str], _Answers] = {}  # Templates only, so bounded.
        self._taken: Tally[Bucket] = Tally()
        # Each process that serves knows the figures of all, so the newest are shown.
        c, g = instruments.counter, instruments.gauge
        self._requests = c("sla_requests", "Answers of promised routes", "route", "verdict")
        self._objective = g("sla_objective_ratio", "Share of good answers promised", "route")
        self._threshold = g("sla_threshold_seconds", "When an answer is late", "route")
        self._latency = g("sla_latency_seconds", "Time of the last hour", "route", "quantile")
        self._good = g("sla_good_ratio", "Share of good answers", "route", "window")
        self._budget = g(
            "sla_error_budget_left_ratio", "Part of the error budget left", "route", "window"
        )
        self._met = g("sla_met", "0 while a promise is broken", "route")

    def promise(self) -> None:
        """Show what is promised, and begin counting from zero: for a process that serves."""
        for objective in OBJECTIVES:
            self._objective.labels(objective.name).set(objective.good_share)
            self._threshold.labels(objective.name).set(objective.threshold_ms / 1_000)
            for verdict in VERDICTS:
                self._requests.labels(objective.name, verdict)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer if anything is promised of its route."""
        answers = self._by_route.get((method, route)) or self._find(method, route)
        if answers is None:
            return
        index = bisect_left(_EDGES, seconds)
        is_late = index > answers.in_time and status < _CLIENT_ERROR
        counts = answers.bad if is_late or status >= _SERVER_ERROR else answers.good
        counts[index] += 1

    def _find(self, method: str, route: str) -> _Answers | None:
        objective = objective_of(method, route)
        if objective is None:  # Not remembered: a caller may make up any number of methods.
            return None
        return self._by_route.setdefault((method, route), self._answers[objective.name])

    def flush(self) -> None:
        """Hand on what was counted, to the metrics library and to whoever takes it next."""
        for route, answers in self._answers.items():
            for verdict, counts in zip(VERDICTS, (answers.good, answers.bad), strict=True):
                if any(counts):
                    self._requests.labels(route, verdict).inc(sum(counts))
                    self._note(route, verdict == "bad", counts)

    def _note(self, route: str, is_bad: bool, counts: list[int]) -> None:
        for index, count in enumerate(counts):
            if count:
                edge = EDGES_US[index] if index < len(EDGES_US) else ABOVE_US
                self._taken[Bucket(route, is_bad, edge)] += count
                counts[index] = 0

    def take(self) -> dict[Bucket, int]:
        """Return what was counted since this was last called."""
        self.flush()
        taken, self._taken = self._taken, Tally()
        return dict(taken)

    def show(self, route: str, latencies: Mapping[float, float], *, is_met: bool) -> None:
        """Show a route's quantiles in seconds, NaN where nothing was asked, and its verdict."""
        for quantile, seconds in latencies.items():
            self._latency.labels(route, str(quantile)).set(seconds)
        self._met.labels(route).set(is_met)

    def show_window(self, route: str, window: str, good: float, budget_left: float) -> None:
        """Show a route's shares over a window."""
        self._good.labels(route, window).set(good)
        self._budget.labels(route, window).set(budget_left)
