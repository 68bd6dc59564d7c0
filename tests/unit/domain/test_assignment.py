"""The pure function from an allocation, a unit and an occasion to a variant."""

import math
from dataclasses import dataclass, field

import pytest

from service.domain.allocation import WEIGHT_SUM, Allocation, allocation_of
from service.domain.assignment import Assigner, Pick
from service.domain.decision import Source, decision_key, send_bytes
from service.domain.experiment import (
    Experiment,
    ExperimentState,
    HoldoutKind,
    HoldoutSpec,
    Variant,
    VariantState,
)

UNITS = [f"unit-{i}" for i in range(4_000)]


@dataclass
class Case:
    """An experiment of three variants a, b, c with weights 1/2, 1/4, 1/4."""

    holdout: HoldoutSpec = field(default_factory=HoldoutSpec)
    state: ExperimentState = ExperimentState.RUNNING
    states: tuple[VariantState, ...] = (VariantState.ACTIVE,) * 3
    weights: tuple[int, ...] = (2**31, 2**30, 2**30)
    salt: bytes = b"s" * 16

    def allocation(self, version: int = 1) -> Allocation:
        """Return the allocation record."""
        variants = tuple(
            Variant(name, is_control=name == "a", state=state)
            for name, state in zip("abc", self.states, strict=True)
        )
        experiment = Experiment(
            1, 7, "x", 1, self.salt, variants, state=self.state, holdout=self.holdout
        )
        return allocation_of(experiment, version, self.weights, 0, "test")

    def assigner(self) -> Assigner:
        """Return the record laid out for deciding."""
        return Assigner(self.allocation())


def picks(assigner: Assigner, occasion: str = "o") -> list[Pick]:
    return [assigner.pick(unit, send_bytes(unit, occasion)) for unit in UNITS]


def share(found: list[Pick], variant: int) -> float:
    return sum(pick.variant == variant for pick in found) / len(found)


def test_equal_inputs_give_equal_picks_in_every_process() -> None:
    # A known value: a change of the hash would move everybody to another variant.
    found = [pick.variant for pick in picks(Case().assigner())[:12]]

    assert found == [pick.variant for pick in picks(Case().assigner())[:12]]
    assert found == [0, 0, 1, 0, 0, 0, 1, 1, 2, 0, 1, 0]


def test_units_are_split_by_the_weights() -> None:
    """4,000 independent units: chance alone leaves a 5 sigma band in fewer than 1 of 10^6 runs."""
    found = picks(Case().assigner())

    for variant, expected in enumerate((0.5, 0.25, 0.25)):
        tolerance = 5 * math.sqrt(expected * (1 - expected) / len(UNITS))
        assert share(found, variant) == pytest.approx(expected, abs=tolerance)


def test_the_propensity_is_the_exact_quotient_of_the_weights() -> None:
    weights = (1, 2, WEIGHT_SUM - 3)
    found = picks(Case(weights=weights).assigner())

    assert {pick.propensity for pick in found} == {(WEIGHT_SUM - 3) / WEIGHT_SUM}


def test_another_version_with_the_same_weights_gives_the_same_variant() -> None:
    older, newer = (Assigner(Case().allocation(version)) for version in (1, 2))

    assert picks(older) == picks(newer)


def test_a_small_move_of_the_weights_moves_few_units() -> None:
    moved = Case(weights=(2**31 + 2**25, 2**30 - 2**25, 2**30)).assigner()
    before, after = picks(Case().assigner()), picks(moved)

    changed = sum(x.variant != y.variant for x, y in zip(before, after, strict=True))
    assert changed / len(UNITS) < 0.015  # The weights moved by 2**25 / 2**32 = 0.0078.


def test_another_occasion_draws_anew() -> None:
    one, other = picks(Case().assigner(), "one"), picks(Case().assigner(), "other")

    same = sum(x.variant == y.variant for x, y in zip(one, other, strict=True)) / len(UNITS)
    # Independent draws agree in 0.5^2 + 2 * 0.25^2 = 0.375 of cases; 5 sigma of 4,000 is 0.038.
    assert same == pytest.approx(0.375, abs=0.04)


def test_a_paused_variant_is_never_picked() -> None:
    states = (VariantState.ACTIVE, VariantState.PAUSED, VariantState.RETIRED)
    case = Case(states=states, weights=(WEIGHT_SUM, 0, 0))

    assert {(p.variant, p.propensity) for p in picks(case.assigner())} == {(0, 1.0)}


def test_eligibility_renormalises_the_weights_of_the_eligible() -> None:
    assigner = Case().assigner()
    found = [assigner.pick_among(unit, send_bytes(unit, "o"), [1, 0]) for unit in UNITS]

    assert {(p.variant, p.propensity) for p in found if p} == {(0, 2 / 3), (1, 1 / 3)}


def test_nothing_is_picked_when_no_eligible_variant_is_active() -> None:
    states = (VariantState.ACTIVE, VariantState.PAUSED, VariantState.ACTIVE)
    assigner = Case(states=states, weights=(2**31, 0, 2**31)).assigner()

    assert assigner.pick_among("u", send_bytes("u", "o"), [1]) is None


def test_holdout_membership_is_stable_across_occasions() -> None:
    assigner = Case(holdout=HoldoutSpec(0.2)).assigner()
    one = [pick.holdout for pick in picks(assigner, "one")]
    other = [pick.holdout for pick in picks(assigner, "other")]

    assert one == other
    assert sum(one) / len(UNITS) == pytest.approx(0.2, abs=0.032)  # 5 sigma.


def test_a_uniform_holdout_gets_every_active_variant_alike() -> None:
    assigner = Case(holdout=HoldoutSpec(1.0)).assigner()
    found = picks(assigner)

    assert {pick.propensity for pick in found} == {1 / 3}
    assert all(share(found, v) == pytest.approx(1 / 3, abs=0.038) for v in range(3))  # 5 sigma.


def test_a_control_holdout_gets_the_control() -> None:
    assigner = Case(holdout=HoldoutSpec(1.0, HoldoutKind.CONTROL)).assigner()

    assert set(picks(assigner)) == {Pick(0, 1.0, holdout=True, source=Source.policy)}


def test_a_control_holdout_keeps_to_the_eligible_variants() -> None:
    assigner = Case(holdout=HoldoutSpec(1.0, HoldoutKind.CONTROL)).assigner()
    pick = assigner.pick_among("u", send_bytes("u", "o"), [1, 2])

    assert pick is not None
    assert (pick.variant in {1, 2}, pick.propensity, pick.holdout) == (True, 0.5, True)


@pytest.mark.parametrize("state", [ExperimentState.PAUSED, ExperimentState.STOPPED])
def test_an_inactive_experiment_answers_the_control(state: ExperimentState) -> None:
    assigner = Case(state=state).assigner()

    assert set(picks(assigner)) == {Pick(0, 1.0, holdout=False, source=Source.inactive)}


def test_an_experiment_without_active_variants_answers_the_control() -> None:
    case = Case(states=(VariantState.PAUSED,) * 3, weights=(0, 0, 0))

    assert case.assigner().pick("u", send_bytes("u", "o")).source is Source.inactive


def test_units_and_occasions_cannot_run_into_each_other() -> None:
    assert send_bytes("ab", "c") != send_bytes("a", "bc")


def test_the_key_is_the_one_that_anybody_can_compute() -> None:
    key = Case().assigner().key(send_bytes("u", "o"))

    assert key == decision_key(1, 7, "u", "o")
    assert len(key) == 16


def test_eligible_variants_that_the_policy_gives_nothing_share_alike() -> None:
    assigner = Case(weights=(2**32, 0, 0)).assigner()
    found = [assigner.pick_among(unit, send_bytes(unit, "o"), [1, 2]) for unit in UNITS]
    assert {pick.propensity for pick in found if pick} == {0.5}
    assert {pick.variant for pick in found if pick} == {1, 2}


@pytest.mark.parametrize("eligible", [None, (0, 1), (1, 2), (2,), (1,), (5,)])
@pytest.mark.parametrize("weights", [(2**31, 0, 2**31), (2**32, 0, 0)])
def test_shares_are_the_propensities_of_the_picks(
    eligible: tuple[int, ...] | None, weights: tuple[int, ...]
) -> None:
    states = (VariantState.ACTIVE, VariantState.PAUSED, VariantState.ACTIVE)
    assigner = Case(states=states, weights=weights).assigner()

    shares = assigner.shares(eligible)

    sends = [(unit, send_bytes(unit, "o")) for unit in UNITS]
    if eligible is None:
        found = {assigner.pick(*send) for send in sends}
    else:
        found = {pick for send in sends if (pick := assigner.pick_among(*send, eligible))}
    assert {pick.variant: pick.propensity for pick in found} == {
        variant: share for variant, share in enumerate(shares) if share
    }
    assert sum(shares) == (1.0 if found else 0.0)
