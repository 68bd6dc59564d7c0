"""What operators see of connection pools: how many connections are in use, of how many."""

from __future__ import annotations

from collections.abc import Callable

from service.metrics.instruments import Instruments

Usage = tuple[int, int]  # In use, and at most.


class PoolMetrics:
    """Looks at the pools of the process when it flushes, and never in a request's time."""

    def __init__(self, instruments: Instruments) -> None:
        self._connections = instruments.gauge(
            "store_pool_connections",
            "Connections to a store that are in use, and that may be",
            "store",
            "state",
            mode="livesum",
        )
        self._pools: dict[str, Callable[[], Usage]] = {}

    def watch(self, store: str, usage: Callable[[], Usage]) -> None:
        """Show a pool's usage from now on."""
        self._pools[store] = usage

    def flush(self) -> None:
        """Look at each pool."""
        for store, usage in self._pools.items():
            in_use, limit = usage()
            self._connections.labels(store, "in_use").set(in_use)
            self._connections.labels(store, "max").set(limit)
