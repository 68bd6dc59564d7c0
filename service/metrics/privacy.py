"""What operators see of privacy: requests to erase a unit, and rows that were wiped."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

REASONS = ("erasure", "retention")


class PrivacyMetrics:
    """Counts only: who was erased is nobody's business."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pending = Gauge(
            "erasures_pending",
            "Requests to erase a unit that are not done",
            namespace="promobandit",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._rows = Counter(
            "rows_wiped",
            "Decisions whose unit and context were wiped",
            ("reason",),
            namespace="promobandit",
            registry=registry,
        )
        for reason in REASONS:
            self._rows.labels(reason)

    def erasures_pending(self, count: int) -> None:
        """Note how many requests are not done."""
        self._pending.set(count)

    def rows_wiped(self, reason: str, count: int) -> None:
        """Count decisions that tell nobody any more."""
        self._rows.labels(reason).inc(count)
