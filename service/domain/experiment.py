"""An experiment: variants, policy, reward definition and state, as one immutable configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

DEFAULT_TENANT = 1  # The number of the tenant `default`, the only one until keys name others.


class ExperimentState(StrEnum):
    """Where an experiment is in its life."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class VariantState(StrEnum):
    """Whether a variant may be sent; a retired one never again."""

    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


class HoldoutKind(StrEnum):
    """What units of the holdout get: every variant alike, or the control."""

    UNIFORM = "uniform"
    CONTROL = "control"


class Variant(Struct, frozen=True):
    """One e-mail to send; its index in the experiment never changes."""

    id: str
    payload: dict[str, Any] = {}
    is_control: bool = False
    state: VariantState = VariantState.ACTIVE


class PolicySpec(Struct, frozen=True):
    """The name of a registered policy and its parameters."""

    name: str = "thompson"
    parameters: dict[str, Any] = {}


class RewardSpec(Struct, frozen=True):
    """Which events count, for how much, and how long after a decision."""

    kind: str = "binary"
    events: dict[str, float] = field(default_factory=lambda: {"conversion": 1.0})
    window_seconds: int = 7 * 86_400


class EvidenceSpec(Struct, frozen=True):
    """How evidence ages and how missing conversions are read."""

    half_life_seconds: int | None = None
    delay: str = "none"


class HoldoutSpec(Struct, frozen=True):
    """The share of units never steered by the policy, and what they get."""

    share: float = 0.0
    kind: HoldoutKind = HoldoutKind.UNIFORM


class Experiment(Struct, frozen=True):
    """One revision of an experiment's configuration.

    `number` is the ledger's name for it and `salt` its randomisation seed; both are fixed when it
    is created. `revision` grows by one with every change.
    """

    tenant: int
    number: int
    id: str
    revision: int
    salt: bytes
    variants: tuple[Variant, ...]
    state: ExperimentState = ExperimentState.RUNNING
    policy: PolicySpec = PolicySpec()
    reward: RewardSpec = RewardSpec()
    evidence: EvidenceSpec = EvidenceSpec()
    exploration_floor: float = 0.01
    holdout: HoldoutSpec = HoldoutSpec()
    guardrails: tuple[dict[str, Any], ...] = ()
    created_at_ms: int = 0
    updated_at_ms: int = 0

    @property
    def control(self) -> int:
        """The index of the control variant."""
        return next(i for i, variant in enumerate(self.variants) if variant.is_control)

    @property
    def active(self) -> tuple[int, ...]:
        """The indices of the variants that may be sent."""
        return tuple(i for i, v in enumerate(self.variants) if v.state is VariantState.ACTIVE)


class AuditEntry(Struct, frozen=True):
    """One administrative act: who changed what, with its before and after."""

    tenant: int
    experiment: str
    at_ms: int
    actor: str
    action: str
    before: Experiment | None
    after: Experiment


def label_of(experiment: Experiment) -> str:
    """Return what metrics call an experiment: two tenants may each have one of the same id."""
    if experiment.tenant == DEFAULT_TENANT:
        return experiment.id
    return f"{experiment.tenant}/{experiment.id}"
