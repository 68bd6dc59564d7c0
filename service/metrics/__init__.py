"""What operators see of the service; the only home of the metrics library."""

from service.metrics.catalogue import Metrics
from service.metrics.service_levels import ABOVE_US, EDGES_US, ServiceLevelMetrics
from service.metrics.serving import UNMATCHED

__all__ = ["ABOVE_US", "EDGES_US", "UNMATCHED", "Metrics", "ServiceLevelMetrics"]
