"""What a caller wants an experiment to be, the checks on it, and the revision it leads to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from service.bandits.policy import PolicyParameterError
from service.bandits.registry import make_policy
from service.domain import limits
from service.domain.experiment import (
    EvidenceSpec,
    Experiment,
    ExperimentState,
    HoldoutSpec,
    PolicySpec,
    RewardSpec,
    Variant,
    VariantState,
)
from service.errors import InvalidInputError, StateConflictError, UnsupportedFeatureError
from service.experiments.lifecycle import FIRST_STATES, check_invariants, check_step

PAYLOAD_DEPTH_MAX = 32  # Copying and encoding recurse.
FIXED = "fixed"  # The one policy whose parameters name variants.


class Definition(msgspec.Struct, frozen=True):
    """The body of a PUT; `state` None leaves a standing experiment's state as it is."""

    variants: tuple[Variant, ...]
    policy: PolicySpec = PolicySpec()
    reward: RewardSpec = RewardSpec()
    evidence: EvidenceSpec = EvidenceSpec()
    exploration_floor: float = 0.01
    holdout: HoldoutSpec = HoldoutSpec()
    guardrails: tuple[dict[str, Any], ...] = ()
    state: ExperimentState | None = None


def checked(definition: Definition) -> Definition:
    """Return the definition with exactly one control, or raise what is wrong with it."""
    _check_supported(definition)
    _check_variants(definition.variants)
    _check_events(definition.reward.events)
    _check_times(definition)
    _check_policy(definition)
    return replace(definition, variants=_with_control(definition.variants))


def first_revision(definition: Definition, tenant: int, experiment_id: str) -> Experiment:
    """Return the experiment that a checked definition creates; number, salt and times follow."""
    state = definition.state or ExperimentState.RUNNING
    if state not in FIRST_STATES:
        raise StateConflictError(f"a new experiment is draft or running, not {state}")
    blank = Experiment(tenant, 0, experiment_id, 1, b"", definition.variants)
    return _with_settings(blank, definition, state)


def redefined(before: Experiment, definition: Definition) -> Experiment:
    """Return a standing experiment under a new checked definition, its variants in their order."""
    state = definition.state or before.state
    check_step(before.state, state)
    variants = _merged(before.variants, definition.variants)
    after = _with_settings(replace(before, variants=variants), definition, state)
    if before.state is ExperimentState.STOPPED and not is_same(before, after):
        raise StateConflictError("a stopped experiment does not change any more")
    check_invariants(after)
    return after


def is_same(one: Experiment, other: Experiment) -> bool:
    """Whether two configurations say the same; in Python's eyes alone, 1 equals True."""
    return one is other or _canonical(one) == _canonical(other)


def _canonical(experiment: Experiment) -> bytes:
    return msgspec.json.encode(experiment, order="sorted")


def _with_settings(base: Experiment, wanted: Definition, state: ExperimentState) -> Experiment:
    return replace(
        base,
        state=state,
        policy=wanted.policy,
        reward=wanted.reward,
        evidence=wanted.evidence,
        exploration_floor=wanted.exploration_floor,
        holdout=wanted.holdout,
        guardrails=wanted.guardrails,
    )


def _merged(standing: tuple[Variant, ...], wanted: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Keep every variant's index and state; new ones go to the end, retired ones stay."""
    wanted_by_id = {variant.id: variant for variant in wanted}
    retired = {v.id for v in standing if v.state is VariantState.RETIRED}
    if retired & wanted_by_id.keys():
        raise StateConflictError("a retired variant's id may not return; leave it out")
    kept = {variant.id for variant in standing}
    if not kept - retired <= wanted_by_id.keys():
        raise InvalidInputError(
            "variants: one of the experiment's is missing; pause or retire it instead"
        )
    if len(kept | wanted_by_id.keys()) > limits.VARIANTS_EVER_MAX:
        raise InvalidInputError(f"variants: at most {limits.VARIANTS_EVER_MAX} in all its life")
    updated = tuple(
        replace(wanted_by_id[v.id], state=v.state)
        if v.id in wanted_by_id
        else replace(v, is_control=False)
        for v in standing
    )
    return updated + tuple(v for v in wanted if v.id not in kept)


def _with_control(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if any(variant.is_control for variant in variants):
        return variants
    return (replace(variants[0], is_control=True), *variants[1:])


def _check_supported(definition: Definition) -> None:
    if definition.reward.kind != "binary":
        raise UnsupportedFeatureError("reward.kind: only binary is served yet")
    if definition.evidence.delay != "none":
        raise UnsupportedFeatureError("evidence.delay: only none is served yet")
    if definition.guardrails:
        raise UnsupportedFeatureError("guardrails: not served yet; leave the list empty")


def _check_variants(variants: tuple[Variant, ...]) -> None:
    if not 1 <= len(variants) <= limits.VARIANTS_MAX:
        raise InvalidInputError(f"variants: from 1 to {limits.VARIANTS_MAX}")
    if max(Counter(variant.id for variant in variants).values()) > 1:
        raise InvalidInputError("variants: every id must be different")
    if sum(variant.is_control for variant in variants) > 1:
        raise InvalidInputError("variants: only one can be the control")
    for index, variant in enumerate(variants):
        if not _is_plain_json(variant.payload):
            raise InvalidInputError(
                f"variants.{index}.payload: must be plain JSON of at most "
                f"{limits.PAYLOAD_BYTES_MAX} bytes and {PAYLOAD_DEPTH_MAX} levels"
            )


def _is_plain_json(payload: dict[str, Any]) -> bool:
    """Whether it comes out of a store as it went in: no NaN, giant integer or lone surrogate."""
    if not _is_shallow(payload, PAYLOAD_DEPTH_MAX):
        return False
    try:
        text = msgspec.json.encode(payload)
        msgspec.msgpack.encode(payload)  # Redis holds it so; it has no integers above 64 bits.
        return len(text) <= limits.PAYLOAD_BYTES_MAX and bool(msgspec.json.decode(text) == payload)
    except (ValueError, OverflowError):
        return False


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in value)


def _check_events(events: Mapping[str, float]) -> None:
    if not 1 <= len(events) <= limits.EVENTS_MAX:
        raise InvalidInputError(f"reward.events: from 1 to {limits.EVENTS_MAX}")
    if not set(events.values()) <= {0.0, 1.0}:
        raise InvalidInputError("reward.events: 1.0 converts, 0.0 is only recorded; no other value")
    if 1.0 not in events.values():
        raise InvalidInputError("reward.events: at least one must be worth 1.0")


def _check_times(definition: Definition) -> None:
    if not 1 <= definition.reward.window_seconds <= limits.WINDOW_SECONDS_MAX:
        raise InvalidInputError(
            f"reward.window: from PT1S to P{limits.WINDOW_SECONDS_MAX // 86_400}D"
        )
    half_life = definition.evidence.half_life_seconds
    low, high = limits.HALF_LIFE_SECONDS_MIN, limits.HALF_LIFE_SECONDS_MAX
    if half_life is not None and not low <= half_life <= high:
        raise InvalidInputError(
            f"evidence.half_life: from PT{low // 3_600}H to P{high // 86_400}D, or null"
        )


def _check_policy(definition: Definition) -> None:
    policy = definition.policy
    parameters = dict(policy.parameters)
    if policy.name == FIXED and "shares" in parameters:
        parameters["shares"] = _shares(parameters["shares"], definition.variants)
    try:
        make_policy(policy.name, parameters)
    except PolicyParameterError as error:
        raise InvalidInputError(f"policy: {error}") from error


def _shares(shares: object, variants: tuple[Variant, ...]) -> list[object]:
    """Return shares by variant id as a list in the order of the variants."""
    if not isinstance(shares, dict) or shares.keys() != {variant.id for variant in variants}:
        raise InvalidInputError("policy.shares: must be an object with one share per variant id")
    return [shares[variant.id] for variant in variants]
