"""The allocations an API process serves from: held in memory, kept newest by polling."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

from service.allocations.lookups import Lookups
from service.allocations.publisher import AllocationStores
from service.domain.allocation import Allocation, EffectiveEvidence, Publication
from service.domain.clock import SECOND_MS, Clock
from service.domain.experiment import Experiment
from service.domain.serving import ServingTable
from service.errors import (
    ExperimentNotFoundError,
    LedgerUnavailableError,
    RedisUnavailableError,
    UnavailableError,
)
from service.logs import logger
from service.metrics import Metrics

# Work of one turn: a change of everything at once must not hold up choices.
CHANGES_PER_POLL_MAX = 200
LOADS_AT_ONCE = 16
SQL_POLL_MS = SECOND_MS
# While Redis is there: what a failover made it forget to announce is not missed for long.
SQL_CHECK_MS = 30 * SECOND_MS
# An epoch that starts with this is of a memory that the worker is still restoring.
RESTORING_MARK = "~"

_log = logger(__name__)


def is_whole(epoch: str) -> bool:
    """Whether a memory's mark says that nothing is missing in it."""
    return bool(epoch) and not epoch.startswith(RESTORING_MARK)


class ServingTables:
    """Every experiment's newest known allocation; nothing here ever goes back to a lower one."""

    def __init__(self, stores: AllocationStores, clock: Clock, metrics: Metrics) -> None:
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        self._by_id: dict[tuple[int, str], ServingTable] = {}
        self._by_number: dict[int, ServingTable] = {}
        self._epoch = ""
        self._cursor = 0
        # What to look at again, and the version that is known to stand somewhere (0: unknown).
        self._pending: dict[int, int] = {}
        self._sql_polled_ms = clock.monotonic_ms() - SQL_CHECK_MS
        self._is_redis_there = True
        self._poll_turn = asyncio.Lock()
        # The change list says first, once for all of them, what is new.
        self._unknown_ids = Lookups(self._by_id.get, self._look_up_id, self.poll)
        self._unknown_numbers = Lookups(self._held_number, self._look_up_number)
        self.is_ready = False

    def get(self, tenant: int, experiment_id: str) -> ServingTable | None:
        """Return a held table, or None."""
        return self._by_id.get((tenant, experiment_id))

    def by_number(self, number: int) -> ServingTable | None:
        """Return a held table, or None."""
        return self._by_number.get(number)

    def all(self) -> list[ServingTable]:
        """Return every held table."""
        return list(self._by_number.values())

    async def find(
        self, tenant: int, experiment_id: str, deadline: float | None = None
    ) -> ServingTable:
        """Return a table from memory, else Redis, else SQL.

        Raises `ExperimentNotFoundError` when SQL does not know it either, and `UnavailableError`
        when nobody has said so by the deadline, a time of the event loop (None: in two seconds).
        """
        table = self.get(tenant, experiment_id)
        return table or await self._unknown_ids.find((tenant, experiment_id), deadline)

    async def find_number(self, number: int, deadline: float | None = None) -> ServingTable:
        """Return a table by number from memory, else Redis, else SQL; raises like `find`."""
        table = self.by_number(number)
        return table or await self._unknown_numbers.find((number, 0), deadline)

    async def newer(self, table: ServingTable, deadline: float | None = None) -> ServingTable:
        """Return the newest table of the same experiment that Redis or SQL have."""
        allocation = table.allocation
        key = (allocation.experiment, allocation.version + 1)
        return await self._unknown_numbers.find(key, deadline)

    def offer(self, table: ServingTable) -> None:
        """Take a table if its version is higher; of the same version, newer evidence."""
        allocation = table.allocation
        held = self._by_number.get(allocation.experiment)
        if held is not None and not _is_same(held, allocation):
            return  # Decisions name the one held: its number never gets a second meaning.
        if held is None or allocation.version > held.allocation.version:
            self._by_number[allocation.experiment] = table
            self._by_id[(allocation.tenant, allocation.experiment_id)] = table
        else:
            _take_evidence(held, table.publication)

    async def highest_number(self) -> int:
        """Return the highest number of an experiment that is held or published."""
        try:
            published = (await self._stores.published.changes("", 0)).experiments
        except RedisUnavailableError:
            published = ()
        return max([0, *self._by_number, *published])

    async def load(self) -> None:
        """Take every head, at start-up: from SQL, or from a whole Redis while SQL is down."""
        versions = await self._versions_to_load()
        if versions is None:
            return
        slots = asyncio.Semaphore(LOADS_AT_ONCE)

        async def load_one(number: int, version: int) -> None:
            async with slots:
                await self._refresh_known(number, version)

        await asyncio.gather(*(load_one(*each) for each in versions.items()))
        self.is_ready = True

    async def poll(self) -> None:
        """Take one turn of the change list; while Redis is gone, of SQL, once a second."""
        async with self._poll_turn:
            has_looked = True
            try:
                await self._poll_redis()
            except RedisUnavailableError:
                self._note_redis(is_there=False)
                has_looked = await self._poll_sql(SQL_POLL_MS)
            else:
                with suppress(LedgerUnavailableError):
                    await self._poll_sql(SQL_CHECK_MS)
            await self._take_pending()
            if has_looked:
                self._metrics.tables_polled(self._clock.now_ms())

    async def _look_up_id(self, key: tuple[int, str]) -> ServingTable:
        found = await self._required((await self._stores.experiments.get(*key)).number)
        allocation = found.allocation
        if (allocation.tenant, allocation.experiment_id) != key:
            # SQL lost the one that is served under this number, and gave it away again.
            _log.error("number_of_another", experiment=allocation.experiment)
            raise ExperimentNotFoundError("no experiment has this id")
        return found

    async def _look_up_number(self, key: tuple[int, int]) -> ServingTable:
        return await self._required(*key)

    def _held_number(self, key: tuple[int, int]) -> ServingTable | None:
        number, version = key
        return None if version else self.by_number(number)

    async def _take_pending(self) -> None:
        for number, version in list(islice(self._pending.items(), CHANGES_PER_POLL_MAX)):
            del self._pending[number]
            try:
                await self._refresh_known(number, version)
            except (UnavailableError, asyncio.CancelledError):
                self._pending[number] = version  # At the end: the others get their turn first.
                raise

    async def _poll_redis(self) -> None:
        changes = await self._stores.published.changes(self._epoch, self._cursor)
        self._note_redis(is_there=True)
        for number in changes.experiments:
            self._pending.setdefault(number, 0)
        self._epoch, self._cursor = changes.epoch, changes.cursor

    async def _poll_sql(self, interval_ms: int) -> bool:
        """Ask SQL for newer versions unless that was only just done; tell whether it was asked."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._sql_polled_ms < interval_ms:
            return False
        self._sql_polled_ms = now_ms
        self._pending.update(await self._missing_of_sql())
        return True

    async def _missing_of_sql(self) -> dict[int, int]:
        """Return the experiments of which SQL has a version that is not held, and which one."""
        heads = await self._stores.allocations.heads()
        return {n: version for n, version in heads.items() if self.version(n) < version}

    async def _versions_to_load(self) -> dict[int, int] | None:
        try:
            return await self._missing_of_sql()
        except LedgerUnavailableError:
            return await self._versions_of_redis()

    async def _versions_of_redis(self) -> dict[int, int] | None:
        """Return every published experiment, or None when Redis cannot stand for SQL now."""
        try:
            changes = await self._stores.published.changes("", 0)
        except RedisUnavailableError:
            return None
        return dict.fromkeys(changes.experiments, 0) if is_whole(changes.epoch) else None

    async def _required(self, number: int, version: int = 0) -> ServingTable:
        await self._refresh(number, version)
        table = self._by_number.get(number)
        if table is None:
            raise ExperimentNotFoundError("no experiment has this id")
        return table

    async def _refresh_known(self, number: int, version: int) -> None:
        """Refresh one of many: one that no store knows as a whole never stops the others."""
        try:
            await self._refresh(number, version)
        except ExperimentNotFoundError:
            _log.warning("allocation_without_experiment", experiment=number)

    async def _refresh(self, number: int, version: int) -> None:
        """Take what Redis has of an experiment, else what SQL has, when it is newer.

        Redis is passed over when it is behind a version that is known to stand in SQL.
        """
        publication = await self._published(number)
        if publication is None or publication.allocation.version < version:
            head = await self._stores.allocations.head(number)
            if head is None:
                return
            publication = Publication(head, _no_evidence(head), head.created_at_ms)
        held = self._by_number.get(number)
        if held is not None and publication.allocation.version <= held.allocation.version:
            _take_evidence(held, publication)
            return
        experiment = await self._configuration(publication.allocation)
        self.offer(ServingTable(publication, experiment))

    async def _published(self, number: int) -> Publication | None:
        try:
            return await self._stores.published.fetch(number)
        except RedisUnavailableError:
            return None

    async def _configuration(self, allocation: Allocation) -> Experiment:
        number, revision = allocation.experiment, allocation.revision
        try:
            experiment = await self._stores.published.configuration(number, revision)
        except RedisUnavailableError:
            experiment = None
        if experiment is None:
            experiment = await self._stores.experiments.by_number(number, revision)
        return experiment

    def version(self, number: int) -> int:
        """Return the version held of an experiment, or 0."""
        held = self._by_number.get(number)
        return 0 if held is None else held.allocation.version

    def _note_redis(self, *, is_there: bool) -> None:
        if is_there != self._is_redis_there:
            _log.warning("redis_back" if is_there else "redis_gone_allocations_from_sql")
            self._is_redis_there = is_there


def _is_same(held: ServingTable, other: Allocation) -> bool:
    """Whether two allocations of one number are of one experiment."""
    mine = held.allocation
    return (mine.tenant, mine.experiment_id) == (other.tenant, other.experiment_id)


def _take_evidence(held: ServingTable, publication: Publication) -> None:
    """Show newer evidence with the version that is served anyway; of the same, the last told."""
    allocation = publication.allocation
    is_shown = _is_same(held, allocation) and allocation.version == held.allocation.version
    if is_shown and publication.evidence.revision >= held.publication.evidence.revision:
        held.publication = publication


def _no_evidence(head: Allocation) -> EffectiveEvidence:
    """Return the evidence shown while Redis, which has it, is away."""
    zeros = (0.0,) * len(head.slots)
    return EffectiveEvidence(0, zeros, zeros)
