"""What operators see of circuits: which stores callers are kept away from, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge


class CircuitMetrics:
    """One gauge and one counter, by circuit; a series begins when its circuit is made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "circuit_open",
            "Whether some process keeps its callers away from a store",
            ("circuit",),
            namespace="promobandit",
            registry=registry,
            # One process that cannot reach a store is worth knowing; one that ended is not.
            multiprocess_mode="livemax",
        )
        self._openings = Counter(
            "circuit_openings",
            "How often processes began to keep callers away from a store",
            ("circuit",),
            namespace="promobandit",
            registry=registry,
        )
        self._are_open: set[str] = set()
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def watch(self, circuit: str) -> Callable[[bool], None]:
        """Return what is to be told whenever a circuit opens (True) or closes (False)."""
        self._open.labels(circuit).set(0)
        self._openings.labels(circuit)
        return partial(self._note, circuit)

    def paused(self, circuit: str, seconds: float) -> None:
        """Note a pause; one that follows within its own length belongs to the same opening."""
        if circuit in self._ends:
            self._ends[circuit].cancel()
        self._note(circuit, True)
        later = asyncio.get_running_loop().call_later
        self._ends[circuit] = later(2 * seconds, self._note, circuit, False)

    def _note(self, circuit: str, is_open: bool) -> None:
        if is_open and circuit not in self._are_open:
            self._openings.labels(circuit).inc()
        (self._are_open.add if is_open else self._are_open.discard)(circuit)
        self._open.labels(circuit).set(int(is_open))
