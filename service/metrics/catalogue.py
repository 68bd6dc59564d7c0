"""What operators see of a process: counters, gauges and histograms; docs/metrics.md lists them.

What every request touches is counted in plain dictionaries and handed to the metrics library by
`flush`, twice a second and before each scrape: that costs a request under a microsecond.
"""

from __future__ import annotations

from prometheus_client import generate_latest

from service.metrics.circuits import CircuitMetrics
from service.metrics.connections import ConnectionMetrics
from service.metrics.instruments import Instruments
from service.metrics.overload import OverloadMetrics
from service.metrics.pools import PoolMetrics
from service.metrics.privacy import PrivacyMetrics
from service.metrics.serving import ServingMetrics
from service.metrics.webhooks import WebhookMetrics
from service.metrics.worker import WorkerMetrics


class Metrics(ServingMetrics, WorkerMetrics):
    """Every metric of a process that it counts itself; one object per process."""

    def __init__(self) -> None:
        self._instruments = Instruments()
        self.registry = self._instruments.registry
        ServingMetrics.__init__(self, self._instruments)
        WorkerMetrics.__init__(self, self._instruments)
        self.overload = OverloadMetrics(self.registry)
        self.connections = ConnectionMetrics(self.registry)
        self.privacy = PrivacyMetrics(self.registry)
        self.circuits = CircuitMetrics(self.registry)
        self.webhooks = WebhookMetrics(self.registry)
        self.pools = PoolMetrics(self._instruments)

    def flush(self) -> None:
        """Hand what requests counted to the library."""
        self._instruments.flush()
        self.service_levels.flush()
        self.overload.flush()
        self.pools.flush()

    def render(self) -> bytes:
        """Return what this process alone counted, as the text of a scrape."""
        return generate_latest(self.registry)
