"""Put back into SQL what Redis published of it before SQL failed over to an older state.

Decisions may name what was published, so no number and no version of it may come to mean anything
else: it is put back before the next version is written.
"""

from __future__ import annotations

from service.allocations.publisher import AllocationStores
from service.domain.allocation import Publication
from service.domain.clock import Clock
from service.errors import (
    ExperimentNotFoundError,
    RedisUnavailableError,
    ServiceError,
    StateConflictError,
)
from service.logs import logger
from service.metrics import Metrics

ACTOR = "worker"

_log = logger(__name__)


class Adoption:
    """Takes allocations and their configurations from Redis into SQL."""

    def __init__(self, stores: AllocationStores, clock: Clock, metrics: Metrics) -> None:
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        self._refused: set[int] = set()

    async def adopt_above(self, number: int, version: int) -> bool:
        """Put back what is published of an experiment above a version; return whether it was.

        A Redis that is away gives nothing. Raises `StateConflictError` when the experiment's number
        or id belongs to another one in SQL by now: then nobody may go on under that number.
        """
        try:
            publication = await self._published_above(number, version)
            return publication is not None and await self._adopt(publication)
        except RedisUnavailableError:
            return False
        except ExperimentNotFoundError as error:
            self._refuse(number, error)
            return False
        except StateConflictError as error:
            self._refuse(number, error)
            raise

    def _refuse(self, number: int, error: ServiceError) -> None:
        if number not in self._refused:
            self._refused.add(number)
            _log.error("adoption_refused", experiment=number, reason=str(error))

    async def _published_above(self, number: int, version: int) -> Publication | None:
        published = await self._stores.published.versions([number])
        if published.get(number, 0) <= version:
            return None
        return await self._stores.published.fetch(number)

    async def _adopt(self, publication: Publication) -> bool:
        allocation = publication.allocation
        number, revision = allocation.experiment, allocation.revision
        if await self._stores.allocations.get(number, allocation.version) is not None:
            return False  # Somebody wrote it just now.
        for each in (revision - 1, revision):
            configuration = await self._stores.published.configuration(number, each)
            if configuration is not None:
                await self._stores.experiments.adopt(configuration, ACTOR, self._clock.now_ms())
        await self._stores.experiments.by_number(number, revision)  # Or nobody knows it any more.
        if not await self._stores.allocations.insert(allocation):
            return False
        self._metrics.adopted()
        _log.warning("allocation_adopted", experiment=number, version=allocation.version)
        return True
