"""Make Redis whole again after any loss: allocations first, then the replay memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from service.allocations.publisher import AllocationStores
from service.allocations.serving_tables import RESTORING_MARK, is_whole
from service.domain.clock import HOUR_MS, MINUTE_MS, Clock
from service.domain.decision import Decision
from service.errors import RedisUnavailableError
from service.logs import logger
from service.metrics import Metrics
from service.store.ports import ReplayMemory
from service.store.records import Cursor

# Two generations, what the memory looks up at most, by clocks that are an hour apart.
REPLAYS_REACH_MS = 49 * HOUR_MS
BATCH_MAX = 500  # Decisions of one script call.
# Answers from before the loss may have waited in the outbox while the first pass ran.
SECOND_PASS_MS = 2 * MINUTE_MS

_log = logger(__name__)


class Restore:
    """Looks for the mark of a whole memory every second; without it everything is written anew.

    The mark is one server's: a replica that was promoted, or a server that started again with
    what it had on disk, may lack the last writes, which the mark it inherited says nothing of.
    """

    page = 5_000  # Decisions of one query.

    def __init__(
        self,
        republish: Callable[[int], Awaitable[None]],
        stores: AllocationStores,
        replays: ReplayMemory,
        clock: Clock,
        metrics: Metrics,
        token: Callable[[], str],
    ) -> None:
        self._republish = republish
        self._stores = stores
        self._replays = replays
        self._clock = clock
        self._metrics = metrics
        self._token = token
        self._is_redis_there = True

    async def turn(self) -> None:
        """Restore if Redis is there and not whole."""
        try:
            epoch = await self._stores.published.epoch()
            self._note_redis(is_there=True)
            if not is_whole(epoch):
                await self._restore()
        except RedisUnavailableError:
            self._note_redis(is_there=False)

    async def _restore(self) -> None:
        published = self._stores.published
        epoch = self._token()
        mark = RESTORING_MARK + epoch
        started_ms = self._clock.now_ms()
        _log.info("restore_started")
        # The mark goes when Redis loses its memory once more meanwhile: then we begin again. It
        # is another's when a worker that lost its lease under way goes on: the newer one wins.
        await published.begin_epoch(mark)
        for number in await self._stores.allocations.heads():
            await self._republish(number)
        count = await self._replay(started_ms - REPLAYS_REACH_MS, mark)
        await self._replay(started_ms - SECOND_PASS_MS, mark)
        if not await published.begin_epoch(epoch, after=mark):
            _log.warning("restore_overtaken")
            return
        self._metrics.restored(count)
        took_ms = self._clock.now_ms() - started_ms
        _log.info("restore_finished", decisions=count, milliseconds=took_ms)

    async def _replay(self, since_ms: int, mark: str) -> int:
        """Write decisions back, the newest first, while the mark stands; return how many."""
        count = 0
        before: Cursor | None = None
        while await self._stores.published.epoch() == mark:
            page, before = await self._stores.ledger.recent_decisions(since_ms, before, self.page)
            await self._write(page)
            count += len(page)
            if before is None:
                break
        return count

    async def _write(self, page: list[Decision]) -> None:
        for start in range(0, len(page), BATCH_MAX):
            await self._replays.restore(page[start : start + BATCH_MAX])

    def _note_redis(self, *, is_there: bool) -> None:
        if is_there != self._is_redis_there:
            _log.warning("redis_back" if is_there else "redis_gone")
            self._is_redis_there = is_there
