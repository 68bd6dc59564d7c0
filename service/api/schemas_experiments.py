"""The bodies of the admin routes: what callers send, and the same shape coming back."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from service.api.durations import duration_of, seconds_of
from service.api.schemas import Duration, EventName, Id, Moment, Schema, Share
from service.domain import limits
from service.domain.experiment import (
    EvidenceSpec,
    Experiment,
    ExperimentState,
    HoldoutKind,
    HoldoutSpec,
    PolicySpec,
    RewardSpec,
    Variant,
)
from service.experiments import Definition
from service.reporting.formats import rfc3339

DEFINITION_EXAMPLE: dict[str, Any] = {
    "variants": [
        {"id": "control", "is_control": True, "payload": {"subject": "Hello"}},
        {"id": "ten-off", "payload": {"subject": "Ten off, today"}},
    ],
    "policy": {"name": "thompson"},
    "reward": {"kind": "binary", "events": {"conversion": 1.0}, "window": "P7D"},
    "evidence": {"half_life": None, "delay": "none"},
    "exploration_floor": 0.01,
    "holdout": {"share": 0.0, "kind": "uniform"},
    "guardrails": [],
    "state": "running",
}
EXPERIMENT_EXAMPLE: dict[str, Any] = {
    "id": "spring-sale",
    **DEFINITION_EXAMPLE,
    "variants": [
        {**DEFINITION_EXAMPLE["variants"][0], "state": "active"},
        {**DEFINITION_EXAMPLE["variants"][1], "is_control": False, "state": "active"},
    ],
    "revision": 1,
    "created_at": "2026-11-24T07:00:00.000Z",
    "updated_at": "2026-11-24T07:00:00.000Z",
}
Payload = Annotated[
    dict[str, Any],
    Field(description=f"The e-mail's content, at most {limits.PAYLOAD_BYTES_MAX} bytes of JSON."),
]
StateName = Literal["draft", "running", "paused", "stopped"]


class VariantBody(Schema):
    """One e-mail to send."""

    id: Id
    is_control: bool = False
    payload: Payload = Field(default={})


class VariantView(VariantBody):
    """One variant as it stands."""

    state: Literal["active", "paused", "retired"]


class Policy(Schema):
    """A policy and, beside its name, its parameters; `fixed` takes shares by variant id."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(max_length=limits.ID_LENGTH_MAX)] = "thompson"


class RewardBody(Schema):
    """Which events count, and how long after a decision; 0.0 is recorded but does not convert."""

    kind: Literal["binary", "value"] = "binary"
    events: dict[EventName, float] = Field(
        default={"conversion": 1.0}, min_length=1, max_length=limits.EVENTS_MAX
    )
    window: Duration = "P7D"


class EvidenceBody(Schema):
    """How evidence ages: the age at which it counts half, null for never."""

    half_life: Duration | None = None
    delay: Annotated[str, Field(max_length=limits.ID_LENGTH_MAX)] = "none"


class HoldoutBody(Schema):
    """The share of units never steered by the policy."""

    share: Share = 0.0
    kind: Literal["uniform", "control"] = "uniform"


class Guardrail(Schema):
    """A rate of an event that no variant may exceed; not served yet."""

    event: EventName
    rate_max: Share


class ExperimentBody(Schema):
    """An experiment as a caller defines it, whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [DEFINITION_EXAMPLE]})

    variants: Annotated[list[VariantBody], Field(min_length=1, max_length=limits.VARIANTS_MAX)]
    policy: Policy = Policy()
    reward: RewardBody = RewardBody()
    evidence: EvidenceBody = EvidenceBody()
    exploration_floor: Share = 0.01
    holdout: HoldoutBody = HoldoutBody()
    guardrails: list[Guardrail] = Field(default=[], max_length=limits.EVENTS_MAX)
    state: Annotated[
        StateName | None,
        Field(description="Left out: running when created, else as it stands."),
    ] = None

    def definition(self) -> Definition:
        """Return it in the words of the domain."""
        half_life = self.evidence.half_life
        return Definition(
            variants=tuple(Variant(v.id, v.payload, v.is_control) for v in self.variants),
            policy=PolicySpec(self.policy.name, dict(self.policy.model_extra or {})),
            reward=RewardSpec(
                self.reward.kind, dict(self.reward.events), seconds_of(self.reward.window)
            ),
            evidence=EvidenceSpec(
                None if half_life is None else seconds_of(half_life), self.evidence.delay
            ),
            exploration_floor=self.exploration_floor,
            holdout=HoldoutSpec(self.holdout.share, HoldoutKind(self.holdout.kind)),
            guardrails=tuple(each.model_dump() for each in self.guardrails),
            state=None if self.state is None else ExperimentState(self.state),
        )


class ExperimentView(Schema):
    """An experiment as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXPERIMENT_EXAMPLE]})

    id: Id
    variants: Annotated[list[VariantView], Field(description="Retired ones stay in the list.")]
    policy: Policy
    reward: RewardBody
    evidence: EvidenceBody
    exploration_floor: Share
    holdout: HoldoutBody
    guardrails: list[Guardrail]
    state: StateName
    revision: int
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Return what callers see of an experiment."""
        evidence = experiment.evidence
        half_life = evidence.half_life_seconds
        return cls.model_validate(
            {
                "id": experiment.id,
                "variants": [_variant_view(variant) for variant in experiment.variants],
                "policy": {**experiment.policy.parameters, "name": experiment.policy.name},
                "reward": _reward_view(experiment.reward),
                "evidence": {
                    "half_life": None if half_life is None else duration_of(half_life),
                    "delay": evidence.delay,
                },
                "exploration_floor": experiment.exploration_floor,
                "holdout": {
                    "share": experiment.holdout.share,
                    "kind": experiment.holdout.kind.value,
                },
                "guardrails": list(experiment.guardrails),
                "state": experiment.state.value,
                "revision": experiment.revision,
                "created_at": rfc3339(experiment.created_at_ms),
                "updated_at": rfc3339(experiment.updated_at_ms),
            }
        )


def _variant_view(variant: Variant) -> dict[str, Any]:
    return {
        "id": variant.id,
        "is_control": variant.is_control,
        "payload": variant.payload,
        "state": variant.state.value,
    }


def _reward_view(reward: RewardSpec) -> dict[str, Any]:
    return {
        "kind": reward.kind,
        "events": reward.events,
        "window": duration_of(reward.window_seconds),
    }
