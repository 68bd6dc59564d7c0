"""What the admin routes answer besides an experiment: lists, the trail, the allocation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from service.api.schemas import Moment, Schema
from service.api.schemas_experiments import (
    EXPERIMENT_EXAMPLE,
    ExperimentView,
    HoldoutBody,
    StateName,
)
from service.domain.experiment import AuditEntry, Experiment
from service.domain.serving import ServingTable
from service.reporting.formats import rfc3339

_AT = "2026-11-24T07:00:00.000Z"


class ExperimentList(Schema):
    """A page of experiments, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"experiments": [EXPERIMENT_EXAMPLE], "next": None}]}
    )

    experiments: list[ExperimentView]
    next: Annotated[str | None, Field(description="Ask again with `after` set to this; null: end.")]

    @classmethod
    def of(cls, page: list[Experiment], following: str | None) -> Self:
        """Return what callers see of a page."""
        return cls(experiments=[ExperimentView.of(each) for each in page], next=following)


class TrailEntry(Schema):
    """One administrative act, with the experiment before and after it."""

    at: Moment
    actor: str
    action: str
    before: ExperimentView | None
    after: ExperimentView


class Trail(Schema):
    """Who did what to an experiment, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment": "spring-sale",
                    "entries": [
                        {
                            "at": _AT,
                            "actor": "ada@example.com",
                            "action": "create",
                            "before": None,
                            "after": EXPERIMENT_EXAMPLE,
                        }
                    ],
                }
            ]
        }
    )

    experiment: str
    entries: list[TrailEntry]

    @classmethod
    def of(cls, experiment_id: str, entries: list[AuditEntry]) -> Self:
        """Return what callers see of an audit trail."""
        return cls(experiment=experiment_id, entries=[_trail_entry(entry) for entry in entries])


def _trail_entry(entry: AuditEntry) -> TrailEntry:
    return TrailEntry(
        at=rfc3339(entry.at_ms),
        actor=entry.actor,
        action=entry.action,
        before=None if entry.before is None else ExperimentView.of(entry.before),
        after=ExperimentView.of(entry.after),
    )


class AllocatedVariant(Schema):
    """A variant's part of an allocation, and the evidence the policy saw of it."""

    variant: str
    state: Literal["active", "paused", "retired"]
    is_control: bool
    weight: Annotated[int, Field(description="Of 2**32; the propensity is their exact quotient.")]
    propensity: float
    effective_pulls: float
    effective_successes: float


class AllocationView(Schema):
    """The allocation in force."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment": "spring-sale",
                    "version": 7,
                    "revision": 1,
                    "state": "running",
                    "created_at": _AT,
                    "reason": "evidence",
                    "holdout": {"share": 0.0, "kind": "uniform"},
                    "evidence_revision": 41,
                    "variants": [
                        {
                            "variant": "control",
                            "state": "active",
                            "is_control": True,
                            "weight": 4294967296,
                            "propensity": 1.0,
                            "effective_pulls": 1000.0,
                            "effective_successes": 31.0,
                        }
                    ],
                }
            ]
        }
    )

    experiment: str
    version: int
    revision: Annotated[int, Field(description="Of the experiment's configuration.")]
    state: StateName
    created_at: Moment
    reason: str
    holdout: HoldoutBody
    evidence_revision: int
    variants: list[AllocatedVariant]

    @classmethod
    def of(cls, table: ServingTable) -> Self:
        """Return what callers see of the allocation a process serves from."""
        allocation = table.allocation
        return cls(
            experiment=allocation.experiment_id,
            version=allocation.version,
            revision=allocation.revision,
            state=allocation.state.value,
            created_at=rfc3339(allocation.created_at_ms),
            reason=allocation.reason,
            holdout=HoldoutBody(share=allocation.holdout.share, kind=allocation.holdout.kind.value),
            evidence_revision=table.publication.evidence.revision,
            variants=[_allocated(table, index) for index in range(len(allocation.slots))],
        )


def _allocated(table: ServingTable, index: int) -> AllocatedVariant:
    allocation, evidence = table.allocation, table.publication.evidence
    slot = allocation.slots[index]
    return AllocatedVariant(
        variant=slot.id,
        state=slot.state.value,
        is_control=index == allocation.control,
        weight=allocation.weights[index],
        propensity=allocation.propensities[index],
        effective_pulls=evidence.pulls[index],
        effective_successes=evidence.successes[index],
    )
