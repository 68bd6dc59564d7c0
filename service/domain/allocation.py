"""An allocation: the integer weights in force, with all that a decision depends on."""

from __future__ import annotations

from msgspec import Struct

from service.domain.experiment import Experiment, ExperimentState, HoldoutSpec, VariantState

WEIGHT_SUM = 2**32


class Slot(Struct, frozen=True, array_like=True):
    """One variant of an allocation, in index order."""

    id: str
    state: VariantState


class Allocation(Struct, frozen=True):
    """One version of an experiment's allocation; (experiment, version) is its primary key.

    `weights` has one integer per slot, 0 for the ones that are not active, and sums to 2**32
    unless nothing is active. Any past decision can be explained from this record alone.
    """

    tenant: int
    experiment: int
    experiment_id: str
    version: int
    revision: int
    state: ExperimentState
    slots: tuple[Slot, ...]
    control: int
    weights: tuple[int, ...]
    holdout: HoldoutSpec
    salt: bytes
    created_at_ms: int
    reason: str

    @property
    def propensities(self) -> tuple[float, ...]:
        """The policy's probability of each slot, exact quotients of the integer weights."""
        return tuple(weight / WEIGHT_SUM for weight in self.weights)


class EffectiveEvidence(Struct, frozen=True):
    """What a policy was shown: effective statistics per variant, in index order."""

    revision: int  # The evidence revision of the ledger it was made from.
    pulls: tuple[float, ...]
    successes: tuple[float, ...]


class Publication(Struct, frozen=True):
    """An allocation together with the evidence it was made from, as published in Redis."""

    allocation: Allocation
    evidence: EffectiveEvidence
    published_at_ms: int


def allocation_of(
    experiment: Experiment, version: int, weights: tuple[int, ...], at_ms: int, reason: str
) -> Allocation:
    """Return the allocation record of a configuration under the given weights."""
    return Allocation(
        tenant=experiment.tenant,
        experiment=experiment.number,
        experiment_id=experiment.id,
        version=version,
        revision=experiment.revision,
        state=experiment.state,
        slots=tuple(Slot(variant.id, variant.state) for variant in experiment.variants),
        control=experiment.control,
        weights=weights,
        holdout=experiment.holdout,
        salt=experiment.salt,
        created_at_ms=at_ms,
        reason=reason,
    )
