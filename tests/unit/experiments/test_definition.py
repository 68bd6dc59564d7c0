"""What a definition may say, and the revision it leads to."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from service.domain import limits
from service.domain.experiment import (
    EvidenceSpec,
    Experiment,
    ExperimentState,
    PolicySpec,
    RewardSpec,
    Variant,
    VariantState,
)
from service.errors import InvalidInputError, StateConflictError, UnsupportedFeatureError
from service.experiments.definition import Definition, checked, first_revision, is_same, redefined

AB = (Variant("a", {"subject": "Hello"}), Variant("b"))


def a_definition(**changes: Any) -> Definition:  # noqa: ANN401  The fields of Definition.
    return Definition(**{"variants": AB, **changes})


def standing(**changes: Any) -> Experiment:  # noqa: ANN401  The fields of Experiment.
    first = first_revision(checked(a_definition()), 1, "e")
    return replace(first, number=1, salt=b"s", **changes)


def events(**values: float) -> RewardSpec:
    return RewardSpec(events=values)


def fixed(shares: object) -> PolicySpec:
    return PolicySpec("fixed", {"shares": shares})


REFUSED = {
    "no variant": {"variants": ()},
    "too many variants": {"variants": tuple(Variant(f"v{i}") for i in range(101))},
    "equal ids": {"variants": (Variant("a"), Variant("a"))},
    "two controls": {"variants": (Variant("a", {}, True), Variant("b", {}, True))},
    "a large payload": {"variants": (Variant("a", {"x": "y" * limits.PAYLOAD_BYTES_MAX}),)},
    "a NaN in a payload": {"variants": (Variant("a", {"x": float("nan")}),)},
    "a giant integer in a payload": {"variants": (Variant("a", {"x": 10**40}),)},
    "half a character in a payload": {"variants": (Variant("a", {"x": "\ud800"}),)},
    "no event": {"reward": events()},
    "too many events": {"reward": events(**{f"e{i}": 1.0 for i in range(21)})},
    "an event worth something else": {"reward": events(conversion=0.5)},
    "no event that converts": {"reward": events(unsubscribe=0.0)},
    "no window": {"reward": RewardSpec(window_seconds=0)},
    "a window too long": {"reward": RewardSpec(window_seconds=limits.WINDOW_SECONDS_MAX + 1)},
    "a half-life too short": {"evidence": EvidenceSpec(half_life_seconds=3_599)},
    "a half-life too long": {"evidence": EvidenceSpec(half_life_seconds=4_000 * 86_400)},
    "an unknown policy": {"policy": PolicySpec("magic")},
    "an unknown parameter": {"policy": PolicySpec("thompson", {"gamma": 1.0})},
    "a parameter out of range": {"policy": PolicySpec("epsilon_greedy", {"epsilon": 2.0})},
    "shares as a list": {"policy": fixed([1, 2])},
    "a share missing": {"policy": fixed({"a": 1})},
    "a share too many": {"policy": fixed({"a": 1, "b": 1, "c": 1})},
    "no share above 0": {"policy": fixed({"a": 0, "b": 0})},
    "a share that is no number": {"policy": fixed({"a": True, "b": 1})},
}
UNSUPPORTED = {
    "revenue": {"reward": RewardSpec(kind="value")},
    "learned delay": {"evidence": EvidenceSpec(delay="learned")},
    "guardrails": {"guardrails": ({"event": "unsubscribe", "rate_max": 0.005},)},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
def test_a_definition_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        checked(a_definition(**changes))

    assert not isinstance(refused.value, UnsupportedFeatureError)


@pytest.mark.parametrize("changes", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_is_not_served_yet_is_refused_and_named(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeatureError, match=next(iter(changes))):
        checked(a_definition(**changes))


def test_the_first_variant_is_the_control_if_none_says_so() -> None:
    assert [v.is_control for v in checked(a_definition()).variants] == [True, False]


def test_a_variant_that_says_so_is_the_control() -> None:
    variants = (Variant("a"), Variant("b", {}, True))

    assert [v.is_control for v in checked(a_definition(variants=variants)).variants] == [
        False,
        True,
    ]


def test_fixed_shares_are_given_by_variant() -> None:
    definition = a_definition(policy=fixed({"b": 3, "a": 1.0}))

    assert checked(definition).policy.parameters == {"shares": {"b": 3, "a": 1.0}}


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_nothing_begins_paused_or_stopped(state: str) -> None:
    wanted = checked(a_definition(state=ExperimentState(state)))
    with pytest.raises(StateConflictError, match="a new experiment"):
        first_revision(wanted, 1, "e")


def test_the_same_definition_changes_nothing() -> None:
    assert is_same(standing(), redefined(standing(), checked(a_definition())))


def test_one_and_true_in_a_payload_are_not_the_same() -> None:
    before = standing(variants=(Variant("a", {"x": 1}, True),))
    wanted = checked(a_definition(variants=(Variant("a", {"x": True}),)))

    assert not is_same(before, redefined(before, wanted))


def test_a_definition_without_state_leaves_a_paused_experiment_paused() -> None:
    after = redefined(standing(state=ExperimentState.PAUSED), checked(a_definition()))

    assert after.state is ExperimentState.PAUSED


def test_new_variants_go_to_the_end_whatever_the_order_of_the_body() -> None:
    wanted = checked(a_definition(variants=(Variant("c"), Variant("b"), Variant("a", {}, True))))

    assert [v.id for v in redefined(standing(), wanted).variants] == ["a", "b", "c"]


def test_a_standing_variant_keeps_its_state_and_takes_the_new_payload() -> None:
    paused = Variant("b", {}, state=VariantState.PAUSED)
    before = standing(variants=(Variant("a", {}, True), paused))
    wanted = checked(a_definition(variants=(Variant("a"), Variant("b", {"x": 1}))))

    after = redefined(before, wanted)

    assert after.variants[1] == replace(paused, payload={"x": 1})


def test_a_variant_cannot_be_left_out() -> None:
    wanted = checked(a_definition(variants=(Variant("a"),)))
    with pytest.raises(InvalidInputError, match="pause or retire it instead"):
        redefined(standing(), wanted)


def test_a_retired_variant_is_left_out_and_keeps_its_index() -> None:
    retired = Variant("a", state=VariantState.RETIRED)
    before = standing(variants=(retired, Variant("b", {}, True)))
    wanted = checked(a_definition(variants=(Variant("b"), Variant("c"))))

    assert [v.id for v in redefined(before, wanted).variants] == ["a", "b", "c"]


def test_a_retired_id_may_not_return() -> None:
    retired = Variant("b", state=VariantState.RETIRED)
    before = standing(variants=(Variant("a", {}, True), retired))
    with pytest.raises(StateConflictError, match="may not return"):
        redefined(before, checked(a_definition()))


def test_an_experiment_has_a_limit_on_variants_in_all_its_life() -> None:
    old = tuple(Variant(f"r{i}", state=VariantState.RETIRED) for i in range(999))
    before = standing(variants=(*old, Variant("a", {}, True)))
    with pytest.raises(InvalidInputError, match="in all its life"):
        redefined(before, checked(a_definition()))


def test_a_stopped_experiment_takes_only_what_it_is() -> None:
    before = standing(state=ExperimentState.STOPPED)

    assert is_same(before, redefined(before, checked(a_definition())))
    with pytest.raises(StateConflictError, match="does not change any more"):
        redefined(before, checked(a_definition(exploration_floor=0.02)))


def test_a_running_experiment_does_not_become_a_draft_again() -> None:
    with pytest.raises(StateConflictError, match="cannot become draft"):
        redefined(standing(), checked(a_definition(state=ExperimentState.DRAFT)))
