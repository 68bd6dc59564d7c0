"""The allocator: evidence in, the next version of an allocation out, in SQL before Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from msgspec import Struct

from service.allocations.adoption import Adoption
from service.allocations.cache import EvidenceCache
from service.allocations.learning import Learned
from service.allocations.publisher import AllocationStores, Publisher
from service.bandits import arms
from service.domain.allocation import Allocation, EffectiveEvidence, Publication, allocation_of
from service.domain.clock import Clock
from service.domain.experiment import Experiment, PolicySpec
from service.errors import RedisUnavailableError, RevisionConflictError
from service.logs import logger
from service.metrics import Metrics

ATTEMPTS_MAX = 20  # Losing so many inserts in a row means that something is wrong.
# Where a decision names a version that neither SQL nor Redis know, others may name later ones.
VERSIONS_SKIPPED = 1_000
FIXED = "fixed"  # The one policy whose parameters name variants.

_log = logger(__name__)


class Proposal(Struct, frozen=True):
    """What the policy answers to the newest evidence."""

    experiment: Experiment
    evidence: EffectiveEvidence
    weights: tuple[int, ...]


class Allocator:
    """Computes allocations; several may run at once, the version key lets one of them win."""

    def __init__(
        self,
        stores: AllocationStores,
        clock: Clock,
        metrics: Metrics,
        named: Callable[[int], int] = lambda _: 0,
    ) -> None:
        """`named` tells the highest version of an experiment that was met anywhere."""
        self._named = named
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        self._heads: dict[int, Allocation] = {}
        self._last: dict[int, tuple[Publication, Experiment]] = {}
        self.adoption = Adoption(stores, clock, metrics)
        self.evidence = EvidenceCache(stores.ledger)
        self.publisher = Publisher(stores.published)

    async def reallocate(self, experiment: Experiment, reason: str) -> Publication:
        """Write and publish the next version, whatever changed; return it.

        A configuration older than the head's is replaced by the newest one: nothing goes back.
        """
        number = experiment.number
        for _ in range(ATTEMPTS_MAX):
            named = self._highest_named(number)  # Before the head, which is never behind it.
            head = await self._stores.allocations.head(number)
            if head is not None and head.revision > experiment.revision:
                experiment = await self._stores.experiments.by_number(number)
            proposal = await self._propose(experiment)
            publication = await self._write(proposal, head, reason, named)
            if publication is not None:
                return publication
            newest = await self._stores.experiments.by_number(number)
            experiment = max(experiment, newest, key=lambda each: each.revision)
        raise RevisionConflictError("the experiment is being changed by others; try again")

    async def refresh(self, number: int) -> None:
        """Write a version if one is due, else publish the evidence with the current one."""
        # The head first: a configuration is stored before an allocation is made from it, so
        # what is proposed is never older than the head that it may be published with.
        named, head = self._named(number), self._heads.get(number)
        if head is None or head.version < named:
            head = await self._stores.allocations.head(number)
        experiment = await self._stores.experiments.by_number(number)
        proposal = await self._propose(experiment)
        reason = _reason_to_write(head, proposal, named)
        if head is None or reason:
            # What is held may be what SQL has lost.
            is_head = head == await self._stores.allocations.head(number)
            if not is_head or await self._write(proposal, head, reason, named) is None:
                await self.reallocate(experiment, reason)
            return
        self._heads[number] = head
        if not await self._publish(head, proposal):
            self.forget_head(number)  # Somebody wrote a higher version, or
            await self._renew_if_behind(head)  # told newer evidence.

    async def _renew_if_behind(self, head: Allocation) -> None:
        """Raise the evidence's revisions in SQL when those that were told are above them.

        Then SQL went back, and nobody noticed; what it has now would never be told.
        """
        number = head.experiment
        with suppress(RedisUnavailableError):
            told = await self._stores.published.fetch(number)
            if told is None or told.allocation.version != head.version:
                return
            held = await self.evidence.current(number)  # After it: another worker may be ahead.
            if held.revision < told.evidence.revision:
                _log.error("evidence_went_back", experiment=number)
                await self._stores.ledger.renew_revisions(self._clock.now_ms(), [number])

    def head(self, number: int) -> Allocation | None:
        """Return the highest version that this allocator knows of, or None."""
        return self._heads.get(number)

    def forget_head(self, number: int) -> None:
        """Read the head from SQL the next time."""
        self._heads.pop(number, None)

    def last(self, number: int) -> Publication | None:
        """Return what was last published here of an experiment, or None."""
        found = self._last.get(number)
        return None if found is None else found[0]

    def learned(self) -> Iterator[Learned]:
        """Yield what is held of each experiment, by number; another thread may walk it."""
        for number, (publication, experiment) in sorted(self._last.items(), key=itemgetter(0)):
            yield Learned(experiment, publication, self.evidence.held(number))

    async def _propose(self, experiment: Experiment) -> Proposal:
        held = await self.evidence.current(experiment.number)
        evidence = held.effective(experiment, self._clock.now_ms())
        weights = await _weights(experiment, evidence)
        return Proposal(experiment, evidence, weights)

    def _highest_named(self, number: int) -> int:
        held = self._heads.get(number)
        return max(self._named(number), 0 if held is None else held.version)

    async def _write(
        self, proposal: Proposal, head: Allocation | None, reason: str, named: int
    ) -> Publication | None:
        """Insert the version after the head and publish it; None when somebody else has."""
        number, version = proposal.experiment.number, 0 if head is None else head.version
        if await self.adoption.adopt_above(number, version):
            self.forget_head(number)
            return None
        version = version + 1 if named <= version else named + VERSIONS_SKIPPED
        now_ms = self._clock.now_ms()
        allocation = allocation_of(proposal.experiment, version, proposal.weights, now_ms, reason)
        if not await self._stores.allocations.insert(allocation):
            self.forget_head(allocation.experiment)
            return None
        self._heads[allocation.experiment] = allocation
        self._metrics.allocation_written()
        await self._publish(allocation, proposal)
        return self.last(number)

    async def _publish(self, allocation: Allocation, proposal: Proposal) -> bool:
        publication = Publication(allocation, proposal.evidence, self._clock.now_ms())
        is_newest = await self.publisher.publish(publication, proposal.experiment)
        self._last[allocation.experiment] = (publication, proposal.experiment)
        return is_newest


def _reason_to_write(head: Allocation | None, proposal: Proposal, named: int) -> str:
    """Return why a version is due, '' when none is."""
    if head is None:
        return "first"
    if head.version < named:
        return "recovery"
    if head.revision < proposal.experiment.revision:
        return "configuration"
    if head.revision == proposal.experiment.revision and arms.have_moved(
        head.weights, proposal.weights
    ):
        return "evidence"
    return ""


async def _weights(experiment: Experiment, evidence: EffectiveEvidence) -> tuple[int, ...]:
    """Return the policy's integer weights; 0 for variants that are not active."""
    active = experiment.active
    weights = [0] * len(experiment.variants)
    if not active:
        return tuple(weights)
    chosen = await asyncio.to_thread(
        arms.allocated_weights,
        *_policy(experiment, active),
        arms.Counts(evidence.pulls, evidence.successes).of(active),
        experiment.exploration_floor,
    )
    for variant, weight in zip(active, chosen, strict=True):
        weights[variant] = weight
    return tuple(weights)


def _policy(experiment: Experiment, active: Sequence[int]) -> tuple[str, Mapping[str, Any]]:
    """Return the policy's name and parameters; shares by variant become shares by arm."""
    spec = experiment.policy
    if spec.name != FIXED:
        return spec.name, spec.parameters
    shares = _shares(spec, [experiment.variants[variant].id for variant in active])
    # Every share may belong to variants that are paused now.
    return (spec.name, {"shares": shares}) if any(shares) else ("uniform", {})


def _shares(spec: PolicySpec, variants: Sequence[str]) -> list[float]:
    given = spec.parameters.get("shares", {})
    return [float(given.get(variant, 0.0)) for variant in variants]
