"""Prepare a data directory for one service: the lock, the embedded server."""

from __future__ import annotations

from pathlib import Path

from service.settings import Settings
from service.store.embedded import EmbeddedRedis, lock_data_dir


def prepare(data_dir: Path) -> None:
    """Lock a data directory for as long as this process lives."""
    lock_data_dir(data_dir)


def embedded_server(settings: Settings) -> EmbeddedRedis | None:
    """Return the server to run beside us, None when REDIS_URL names another."""
    return EmbeddedRedis(settings.data_dir) if settings.redis_url is None else None
