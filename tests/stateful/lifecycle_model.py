"""The life of an experiment in plain Python: what each act leads to, or why it is refused."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from service.domain.clock import HOUR_MS, SECOND_MS
from service.domain.experiment import (
    Experiment,
    ExperimentState,
    HoldoutKind,
    HoldoutSpec,
    PolicySpec,
    RewardSpec,
    Variant,
)
from service.errors import ServiceError, StateConflictError, VariantNotFoundError
from service.experiments import Definition

EVENTS = {"conversion": 1.0, "open": 0.0}
NAMES = "abcdef"
WINDOW_SECONDS = HOUR_MS // SECOND_MS
# What an act makes of each state; what is not listed is refused.
ACTS = {
    "pause": {"running": "paused", "paused": "paused"},
    "resume": {"draft": "running", "paused": "running", "running": "running"},
    "stop": {"running": "stopped", "paused": "stopped", "stopped": "stopped"},
}
VARIANT_ACTS = {
    "pause": {"active": "paused", "paused": "paused"},
    "resume": {"paused": "active", "active": "active"},
    "retire": {"active": "retired", "paused": "retired", "retired": "retired"},
}


@dataclass
class Configuration:
    """An experiment as its operators believe it to be."""

    tenant: int
    id: str
    policy: PolicySpec
    share: float
    is_draft: bool
    state: str = ""
    variants: dict[str, str] = field(default_factory=lambda: dict.fromkeys("abc", "active"))
    control: str = "a"
    window_seconds: int = WINDOW_SECONDS
    kind: str = "uniform"

    def __post_init__(self) -> None:
        self.state = self.state or ("draft" if self.is_draft else "running")

    def definition(self) -> Definition:
        """Return the body of a PUT that says what is believed."""
        return Definition(
            tuple(
                Variant(name, is_control=name == self.control)
                for name, state in self.variants.items()
                if state != "retired"
            ),
            policy=self.policy,
            reward=RewardSpec("binary", EVENTS, self.window_seconds),
            holdout=HoldoutSpec(self.share, HoldoutKind(self.kind)),
            state=ExperimentState.DRAFT if self.state == "draft" else None,
        )

    def is_of(self, experiment: Experiment) -> bool:
        """Whether an experiment is as believed."""
        return (
            self.state == experiment.state
            and self.variants == {v.id: v.state for v in experiment.variants}
            and self.control == experiment.variants[experiment.control].id
            and self.window_seconds == experiment.reward.window_seconds
            and (self.share, self.kind) == (experiment.holdout.share, experiment.holdout.kind)
        )

    def acted(self, act: str) -> Configuration | type[ServiceError]:
        """Return what an act on the experiment leads to, or its refusal."""
        after = deepcopy(self)
        after.state = ACTS[act].get(self.state, "")
        return after if after.state and after.can_run() else StateConflictError

    def variant_acted(self, act: str, name: str) -> Configuration | type[ServiceError]:
        """Return what an act on a variant leads to, or its refusal."""
        if name not in self.variants:
            return VariantNotFoundError
        state = VARIANT_ACTS[act].get(self.variants[name], "")
        if state == self.variants[name]:
            return self
        after = deepcopy(self)
        after.variants[name] = state
        if self.state == "stopped" or not state or not after.can_run():
            return StateConflictError
        if state == "retired" and name == self.control:
            return StateConflictError
        return after

    def redefined(self, change: str) -> Configuration:
        """Return what a change of the definition would lead to."""
        after = deepcopy(self)
        open_names = [name for name, state in self.variants.items() if state != "retired"]
        if change == "add" and len(self.variants) < len(NAMES):
            after.variants[NAMES[len(self.variants)]] = "active"
        elif change == "control":
            place = open_names.index(self.control)
            after.control = open_names[(place + 1) % len(open_names)]
        elif change == "window":
            after.window_seconds = 3 * WINDOW_SECONDS - self.window_seconds
        elif change == "share":
            after.share = 0.5 - self.share
        elif change == "kind":
            after.kind = "control" if self.kind == "uniform" else "uniform"
        return after

    def can_run(self) -> bool:
        """Whether a running experiment has something to send."""
        return self.state != "running" or "active" in self.variants.values()
