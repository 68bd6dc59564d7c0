"""What operators see of connections: how many there are, and those the service ended itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

REASONS = ("refused", "gave_way", "stalled")


class ConnectionMetrics:
    """The connections of the API processes together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge(
            "connections",
            "Connections of clients",
            namespace="promobandit",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._ended = Counter(
            "ended_connections",
            "Connections ended by the service, by reason",
            ("reason",),
            namespace="promobandit",
            registry=registry,
        )
        for reason in REASONS:
            self._ended.labels(reason)

    def connected(self, count: int) -> None:
        """Show how many connections there are."""
        self._connections.set(count)

    def disconnected(self, reason: str) -> None:
        """Count a connection that had no place, gave way to another, or took nothing."""
        self._ended.labels(reason).inc()
