"""When which experiment is allocated: what changed first, everything in turn, a little per tick."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from time import perf_counter

from service.allocations.allocator import Allocator
from service.allocations.publisher import AllocationStores
from service.allocations.traces import Traces
from service.domain.clock import MINUTE_MS, SECOND_MS, Clock
from service.domain.evidence import is_of_another_state
from service.domain.experiment import Experiment, ExperimentState
from service.errors import (
    ExperimentNotFoundError,
    LedgerUnavailableError,
    RedisUnavailableError,
    StateConflictError,
)
from service.logs import logger
from service.metrics import Metrics
from service.sla import ALLOCATION_INTERVAL_MS, ALLOCATION_REFRESH_MS

# Of a tick's time: what changed may take the larger part, the routine always gets its turn.
CHANGED_SECONDS = 0.12
ROUTINE_SECONDS = 0.04
HEADS_CHECK_MS = 5 * SECOND_MS
FAILED_PAUSE_MS = MINUTE_MS  # An experiment that cannot be allocated is tried again after this.

_log = logger(__name__)


class AllocationSchedule:
    """Calls the allocator for the experiments whose turn it is."""

    def __init__(
        self,
        allocator: Allocator,
        stores: AllocationStores,
        clock: Clock,
        metrics: Metrics,
        traces: Traces | None = None,
    ) -> None:
        """`traces` tells what the drain has met."""
        self._traces = traces or Traces()
        self._losses_seen = 0
        self._allocator = allocator
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        # Dictionaries, because they keep their order: first come, first served.
        self._changed: dict[int, None] = {}
        self._routine: dict[int, None] = {}
        self._not_before_ms: dict[int, int] = {}
        self._seen: dict[int, int] | None = None
        self._names_looked_ms: int | None = None
        self._heads_checked_ms: int | None = None
        self._all_checked_ms: int | None = None

    async def tick(self) -> bool:
        """Do a bounded piece of work; return whether there is more to do at once."""
        now_ms = self._clock.monotonic_ms()
        await self._notice_evidence()
        if self._traces.losses != self._losses_seen:
            await self._look_for_names()
            self._heads_checked_ms = None
        if _is_due(self._heads_checked_ms, now_ms, HEADS_CHECK_MS):
            await self._check_heads()
            self._heads_checked_ms = now_ms
        if _is_due(self._all_checked_ms, now_ms, ALLOCATION_REFRESH_MS):
            await self._check_all()
            self._all_checked_ms = now_ms
        more_changed = await self._work(self._changed, CHANGED_SECONDS)
        more_routine = await self._work(self._routine, ROUTINE_SECONDS)
        return more_changed or more_routine

    async def _notice_evidence(self) -> None:
        """Queue what has new evidence; at the start all is old, and waits for its routine turn."""
        revisions = await self._stores.ledger.evidence_revisions()
        self._notice_loss(revisions)
        for number, revision in revisions.items():
            # Also a lower one: then SQL went back to an older state.
            if revision != self._known_revision(number, revision):
                self._changed[number] = None
        self._changed.update(dict.fromkeys((self._seen or {}).keys() - revisions.keys()))
        self._seen = revisions

    def _notice_loss(self, revisions: dict[int, int]) -> None:
        """Notice a loss of SQL's by the evidence: another machine's drain may have met it alone."""
        seen = (self._seen or {}).items()
        went_back = any(is_of_another_state(r, revisions.get(number, 0)) for number, r in seen)
        now_ms = self._clock.monotonic_ms()
        # Each machine's drain renews the revisions after one and the same loss.
        if went_back and _is_due(self._names_looked_ms, now_ms, MINUTE_MS):
            self._traces.losses += 1

    def _known_revision(self, number: int, newest: int) -> int:
        """Return up to where an experiment's evidence was noticed before."""
        if self._seen is not None:
            return self._seen.get(number, 0)
        # What a restore published before the first tick has no routine turn to wait for.
        is_published = self._allocator.head(number) is not None
        return self._allocator.evidence.revision(number) if is_published else newest

    async def _check_heads(self) -> None:
        """Queue what Redis owes, or holds another version of than SQL."""
        for number in self._allocator.publisher.owed:
            self._changed[number] = None
        heads = await self._stores.allocations.heads()
        try:
            published = await self._published(heads)
        except RedisUnavailableError:
            return  # The restore loop says so.
        for number, version in published.items():
            if version > heads.get(number, 0):
                await self._adopt(number, heads.get(number, 0))
        for number, version in heads.items():
            known = self._allocator.head(number)
            if known is not None and known.version < version:
                # An API process wrote it; it may have been killed before it told the others.
                self._allocator.forget_head(number)
                self._changed[number] = None
            if published.get(number, 0) < version:
                self._changed[number] = None

    async def _look_for_names(self) -> None:
        """After a loss of SQL's: find what decisions name, so that it never gets a new meaning.

        What Redis does not tell either, the outboxes of other machines may name: a version above
        each head counts as met, so that the next ones are far from it.
        """
        losses = self._traces.losses
        for number, version in (await self._stores.allocations.heads()).items():
            named = await self._stores.ledger.named_version(number)
            self._traces.name(number, max(named, version + 1))
        await self._stores.experiments.reserve_numbers(max(self._traces.named, default=0))
        self._losses_seen = losses
        self._names_looked_ms = self._clock.monotonic_ms()

    async def _published(self, heads: dict[int, int]) -> dict[int, int]:
        """Return what Redis has of the experiments that SQL knows, and of those it does not."""
        announced = (await self._stores.published.changes("", 0)).experiments
        return await self._stores.published.versions(list(dict.fromkeys([*heads, *announced])))

    async def _adopt(self, number: int, version: int) -> None:
        with suppress(StateConflictError):  # A person has to look; it has been said.
            if await self._allocator.adoption.adopt_above(number, version):
                self._allocator.forget_head(number)
                self._changed[number] = None
                self._not_before_ms.pop(number, None)  # It may have had no experiment until now.

    async def _check_all(self) -> None:
        """Queue what ages, and what a crash left between two writes."""
        for experiment in await self._stores.experiments.all():
            head = self._allocator.head(experiment.number)
            if head is None or head.revision < experiment.revision or _ages(experiment):
                self._routine[experiment.number] = None

    async def _work(self, queue: dict[int, None], seconds: float) -> bool:
        """Work a queue off for a while; return whether something is left that is due."""
        started = perf_counter()
        due = _due(queue, self._not_before_ms, self._clock.monotonic_ms())
        for done, number in enumerate(due, start=1):
            del queue[number]
            await self.refresh(number)
            if perf_counter() - started > seconds:
                return done < len(due)
        return False

    async def refresh(self, number: int) -> None:
        """Refresh an experiment; one that cannot be allocated never stops the others."""
        pause_ms = ALLOCATION_INTERVAL_MS
        try:
            await self._allocator.refresh(number)
        except LedgerUnavailableError:
            self._changed[number] = None
            raise
        except ExperimentNotFoundError:
            _log.warning("evidence_without_experiment", experiment=number)
            pause_ms = FAILED_PAUSE_MS
        except Exception:  # noqa: BLE001  A bug of one policy must not starve the others.
            _log.exception("allocation_failed", experiment=number)
            self._metrics.allocation_failed()
            self._routine[number] = None
            pause_ms = FAILED_PAUSE_MS
        self._not_before_ms[number] = self._clock.monotonic_ms() + pause_ms


def _is_due(last_ms: int | None, now_ms: int, interval_ms: int) -> bool:
    return last_ms is None or now_ms - last_ms >= interval_ms


def _due(queue: Iterable[int], not_before_ms: dict[int, int], now_ms: int) -> list[int]:
    return [number for number in queue if not_before_ms.get(number, 0) <= now_ms]


def _ages(experiment: Experiment) -> bool:
    """Whether time alone moves the allocation."""
    is_running = experiment.state is ExperimentState.RUNNING
    return is_running and experiment.evidence.half_life_seconds is not None
