"""The state machines of experiments and variants, and the one step from a state to the next."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from service.domain.experiment import Experiment, ExperimentState, Variant, VariantState
from service.errors import StateConflictError, VariantNotFoundError

_E = ExperimentState
_V = VariantState


class Act(StrEnum):
    """What operators do to an experiment; the names are those of the routes."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class VariantAct(StrEnum):
    """What operators do to a variant; the names are those of the routes."""

    PAUSE = "pause"
    RESUME = "resume"
    RETIRE = "retire"


STATE_AFTER = {
    Act.PAUSE: ExperimentState.PAUSED,
    Act.RESUME: ExperimentState.RUNNING,
    Act.STOP: ExperimentState.STOPPED,
}
VARIANT_STATE_AFTER = {
    VariantAct.PAUSE: VariantState.PAUSED,
    VariantAct.RESUME: VariantState.ACTIVE,
    VariantAct.RETIRE: VariantState.RETIRED,
}
# draft -> running <-> paused -> stopped. A running experiment may be stopped at once; a draft was
# never started, so there is nothing to pause or stop.
_NEXT = {
    _E.DRAFT: {_E.RUNNING},
    _E.RUNNING: {_E.PAUSED, _E.STOPPED},
    _E.PAUSED: {_E.RUNNING, _E.STOPPED},
    _E.STOPPED: set(),
}
_NEXT_VARIANT = {
    _V.ACTIVE: {_V.PAUSED, _V.RETIRED},
    _V.PAUSED: {_V.ACTIVE, _V.RETIRED},
    _V.RETIRED: set(),
}
FIRST_STATES = (ExperimentState.DRAFT, ExperimentState.RUNNING)


def check_step(before: ExperimentState, after: ExperimentState) -> None:
    """Raise `StateConflictError` unless the state may follow; staying where one is always may."""
    if after is not before and after not in _NEXT[before]:
        raise StateConflictError(f"a {before} experiment cannot become {after}")


def check_invariants(experiment: Experiment) -> None:
    """Raise `StateConflictError` for a running experiment with nothing to send."""
    if experiment.state is ExperimentState.RUNNING and not experiment.active:
        raise StateConflictError("a running experiment needs an active variant")


def moved(experiment: Experiment, act: Act) -> Experiment:
    """Return the experiment after an act, the same object when the act changes nothing."""
    after = STATE_AFTER[act]
    check_step(experiment.state, after)
    if after is experiment.state:
        return experiment
    result = replace(experiment, state=after)
    check_invariants(result)
    return result


def variant_moved(experiment: Experiment, variant_id: str, act: VariantAct) -> Experiment:
    """Return the experiment after an act on a variant, the same object when nothing changes."""
    variant = variant_of(experiment, variant_id)
    after = VARIANT_STATE_AFTER[act]
    if after is variant.state:
        return experiment
    _check_variant_step(experiment, variant, after)
    changed = replace(variant, state=after)
    variants = tuple(changed if v is variant else v for v in experiment.variants)
    result = replace(experiment, variants=variants)
    check_invariants(result)
    return result


def variant_of(experiment: Experiment, variant_id: str) -> Variant:
    """Return a variant by its id, or raise `VariantNotFoundError`."""
    for variant in experiment.variants:
        if variant.id == variant_id:
            return variant
    raise VariantNotFoundError("the experiment has no such variant")


def _check_variant_step(experiment: Experiment, variant: Variant, after: VariantState) -> None:
    if experiment.state is ExperimentState.STOPPED:
        raise StateConflictError("a stopped experiment does not change any more")
    if after not in _NEXT_VARIANT[variant.state]:
        raise StateConflictError(f"a {variant.state} variant cannot become {after}")
    if after is VariantState.RETIRED and variant.is_control:
        raise StateConflictError("make another variant the control before retiring this one")
