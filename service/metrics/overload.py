"""What operators see of too much work: requests under way, their limits, and refusals."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

PRIORITIES = ("reward", "choose", "send", "report", "export")


class OverloadMetrics:
    """Work in flight by priority, in places: a call for 200 units takes several."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shed = Counter(
            "shed_requests",
            "Requests refused because too much was asked",
            ("priority",),
            namespace="promobandit",
            registry=registry,
        )
        self._in_flight = self._gauge(registry, "in_flight", "Places taken by work under way")
        self._limits = self._gauge(registry, "in_flight_limit", "Places that may be taken now")
        for priority in PRIORITIES:
            self._shed.labels(priority)
        # Kept here until `flush`: what refuses a thousand requests a second must cost nothing.
        self._refused = dict.fromkeys(PRIORITIES, 0)
        self._places: dict[str, tuple[int, int]] = {}

    @staticmethod
    def _gauge(registry: CollectorRegistry, name: str, text: str) -> Gauge:
        return Gauge(
            name,
            text,
            ("priority",),
            namespace="promobandit",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def shed(self, priority: str) -> None:
        """Count a request that was not let in."""
        self._refused[priority] += 1

    def in_flight(self, priority: str, count: int, limit: int) -> None:
        """Show how much is under way, and how much may be."""
        self._places[priority] = (count, limit)

    def flush(self) -> None:
        """Hand what was counted to the library."""
        for priority, count in self._refused.items():
            if count:
                self._shed.labels(priority).inc(count)
                self._refused[priority] = 0
        for priority, (count, limit) in self._places.items():
            self._in_flight.labels(priority).set(count)
            self._limits.labels(priority).set(limit)
