"""Put an allocation where API processes find it; the SQL head stands when Redis does not."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.allocation import Publication
from service.domain.experiment import Experiment
from service.errors import RedisUnavailableError
from service.store.ports import AllocationStore, ExperimentStore, Ledger, PublishedAllocations


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationStores:
    """The stores that allocations are made from and kept in."""

    experiments: ExperimentStore
    allocations: AllocationStore
    published: PublishedAllocations
    ledger: Ledger


class Publisher:
    """Publishes, and remembers what Redis did not take."""

    def __init__(self, published: PublishedAllocations) -> None:
        self._published = published
        self.owed: set[int] = set()

    async def publish(self, publication: Publication, experiment: Experiment) -> bool:
        """Publish; False only when a higher version or newer evidence stands there.

        A Redis that is down owes us the publication: the worker tries again.
        """
        number = publication.allocation.experiment
        try:
            is_newest = await self._published.publish(publication, experiment)
        except RedisUnavailableError:
            self.owed.add(number)
            return True
        self.owed.discard(number)
        return is_newest
