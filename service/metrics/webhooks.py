"""What operators see of webhooks: attempts by outcome, and messages that wait."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("delivered", "failed", "given_up")


class WebhookMetrics:
    """Counts only: an address may hold a secret."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "webhook_deliveries",
            "Attempts to tell a webhook, by outcome",
            ("outcome",),
            namespace="promobandit",
            registry=registry,
        )
        self._pending = Gauge(
            "webhook_deliveries_pending",
            "Messages for webhooks that are neither delivered nor given up",
            namespace="promobandit",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        for outcome in OUTCOMES:
            self._deliveries.labels(outcome)

    def attempted(self, outcome: str) -> None:
        """Count an attempt."""
        self._deliveries.labels(outcome).inc()

    def pending(self, count: int) -> None:
        """Note how many messages wait."""
        self._pending.set(count)
