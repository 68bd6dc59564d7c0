"""The allocator: evidence in, the next version of an allocation out, in SQL before Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from service.allocations.cache import EvidenceCache
from service.allocations.publisher import AllocationStores, Publisher
from service.bandits import arms
from service.domain.allocation import Allocation, EffectiveEvidence, Publication, allocation_of
from service.domain.clock import Clock
from service.domain.experiment import Experiment, PolicySpec
from service.errors import RevisionConflictError
from service.metrics import Metrics

ATTEMPTS_MAX = 20  # Losing so many inserts in a row means that something is wrong.
FIXED = "fixed"  # The one policy whose parameters name variants.


class Proposal(Struct, frozen=True):
    """What the policy answers to the newest evidence."""

    experiment: Experiment
    evidence: EffectiveEvidence
    weights: tuple[int, ...]


class Allocator:
    """Computes allocations; several may run at once, the version key lets one of them win."""

    def __init__(self, stores: AllocationStores, clock: Clock, metrics: Metrics) -> None:
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        self._heads: dict[int, Allocation] = {}
        self._last: dict[int, Publication] = {}
        self.evidence = EvidenceCache(stores.ledger)
        self.publisher = Publisher(stores.published)

    async def reallocate(self, experiment: Experiment, reason: str) -> Publication:
        """Write and publish the next version, whatever changed; return it.

        A configuration older than the head's is replaced by the newest one: nothing goes back.
        """
        number = experiment.number
        for _ in range(ATTEMPTS_MAX):
            head = await self._stores.allocations.head(number)
            if head is not None and head.revision > experiment.revision:
                experiment = await self._stores.experiments.by_number(number)
            publication = await self._write(await self._propose(experiment), head, reason)
            if publication is not None:
                return publication
        raise RevisionConflictError("the experiment is being changed by others; try again")

    async def refresh(self, number: int) -> None:
        """Write a version if one is due, else publish the evidence with the current one."""
        # The head first: a configuration is stored before an allocation is made from it, so
        # what is proposed is never older than the head that it may be published with.
        head = self._heads.get(number) or await self._stores.allocations.head(number)
        experiment = await self._stores.experiments.by_number(number)
        proposal = await self._propose(experiment)
        reason = _reason_to_write(head, proposal)
        if head is None or reason:
            if await self._write(proposal, head, reason) is None:
                await self.reallocate(experiment, reason)
            return
        self._heads[number] = head
        if not await self._publish(head, proposal):
            self.forget_head(number)  # Somebody wrote a higher version.

    def head(self, number: int) -> Allocation | None:
        """Return the highest version that this allocator knows of, or None."""
        return self._heads.get(number)

    def forget_head(self, number: int) -> None:
        """Read the head from SQL the next time."""
        self._heads.pop(number, None)

    def last(self, number: int) -> Publication | None:
        """Return what was last published here of an experiment, or None."""
        return self._last.get(number)

    async def _propose(self, experiment: Experiment) -> Proposal:
        held = await self.evidence.current(experiment.number)
        evidence = held.effective(experiment, self._clock.now_ms())
        weights = await _weights(experiment, evidence)
        return Proposal(experiment, evidence, weights)

    async def _write(
        self, proposal: Proposal, head: Allocation | None, reason: str
    ) -> Publication | None:
        """Insert the version after the head and publish it; None when somebody else has."""
        version = 1 if head is None else head.version + 1
        now_ms = self._clock.now_ms()
        allocation = allocation_of(proposal.experiment, version, proposal.weights, now_ms, reason)
        if not await self._stores.allocations.insert(allocation):
            self.forget_head(allocation.experiment)
            return None
        self._heads[allocation.experiment] = allocation
        self._metrics.allocation_written()
        await self._publish(allocation, proposal)
        return self._last[allocation.experiment]

    async def _publish(self, allocation: Allocation, proposal: Proposal) -> bool:
        publication = Publication(allocation, proposal.evidence, self._clock.now_ms())
        is_newest = await self.publisher.publish(publication, proposal.experiment)
        self._last[allocation.experiment] = publication
        self._metrics.in_force(
            allocation.experiment_id,
            allocation.version,
            allocation.created_at_ms,
            {s.id: p for s, p in zip(allocation.slots, allocation.propensities, strict=True)},
        )
        return is_newest


def _reason_to_write(head: Allocation | None, proposal: Proposal) -> str:
    """Return why a version is due, '' when none is."""
    if head is None:
        return "first"
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
