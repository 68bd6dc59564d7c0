"""What operators see of the service; the only home of the metrics library."""

from service.metrics.catalogue import Metrics, forget_process

__all__ = ["Metrics", "forget_process"]
