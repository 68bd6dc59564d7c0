"""Prepare a data directory for one service: the lock, the metrics, the embedded server."""

from __future__ import annotations

import shutil
from pathlib import Path

from service.settings import Settings
from service.store.embedded import EmbeddedRedis, lock_data_dir

METRICS = "metrics"


def prepare(data_dir: Path) -> Path:
    """Lock a data directory for as long as this process lives; return where metrics are shared."""
    lock_data_dir(data_dir)
    metrics = data_dir / METRICS
    # Counters start at 0 with the service, as those of one process would.
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(mode=0o700)
    return metrics


def embedded_server(settings: Settings) -> EmbeddedRedis | None:
    """Return the server to run beside us, None when REDIS_URL names another."""
    return EmbeddedRedis(settings.data_dir) if settings.redis_url is None else None
