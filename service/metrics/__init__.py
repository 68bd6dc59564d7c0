"""What operators see of the service; the only home of the metrics library."""

from service.metrics.catalogue import UNMATCHED, Metrics
from service.metrics.shared import forget_process

__all__ = ["UNMATCHED", "Metrics", "forget_process"]
