"""Allocations: what computes and publishes them, and what API processes hold of them."""

from service.allocations.allocator import Allocator
from service.allocations.cache import EvidenceCache
from service.allocations.publisher import AllocationStores
from service.allocations.serving_tables import ServingTables

__all__ = ["AllocationStores", "Allocator", "EvidenceCache", "ServingTables"]
