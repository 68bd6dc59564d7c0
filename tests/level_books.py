"""The books of service levels over memory stores, for tests."""

from __future__ import annotations

from service.domain.clock import Clock
from service.metrics import Metrics
from service.reporting.service_level_book import ServiceLevelBook
from service.store.memory_service_levels import MemoryServiceLevelStore
from service.store.service_level_ports import ServiceLevelStore


def book_of(
    metrics: Metrics, clock: Clock, store: ServiceLevelStore | None = None, writer: str = "one"
) -> ServiceLevelBook:
    """Return the book of a process, over a store that it shares with others or has for itself."""
    return ServiceLevelBook(
        metrics=metrics.service_levels,
        store=store or MemoryServiceLevelStore(),
        own=MemoryServiceLevelStore(),
        clock=clock,
        writer=writer,
    )
