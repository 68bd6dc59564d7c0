"""What every policy of the registry promises, whatever its formula."""

import copy
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bandits.arrays import FloatArray
from service.bandits.evidence import ArmEvidence
from service.bandits.policy import Policy
from service.bandits.propensity import integer_weights, with_floor
from service.bandits.registry import POLICY_NAMES, make_policy

SHARES = (1.0, 2.0, 0.0, 4.0, 0.5, 8.0, 3.0)
FLOOR = 0.01

LEARNING = tuple(name for name in POLICY_NAMES if name != "fixed")

# Beside the defaults, parameters at the ends of their ranges.
SETTINGS: tuple[tuple[str, Mapping[str, object]], ...] = (
    *((name, {}) for name in LEARNING),
    ("fixed", {"shares": SHARES}),
    ("thompson", {"alpha": 0.001, "beta": 0.001}),
    ("thompson", {"alpha": 2.3, "beta": 165.9}),
    ("top_two_thompson", {"alpha": 0.5, "beta": 0.5, "coin": 1.0}),
    ("kl_ucb", {"c": 3.0}),
    ("epsilon_greedy", {"epsilon": 0.0}),
)
NAMED = [f"{name} {dict(parameters) or ''}".strip() for name, parameters in SETTINGS]

EXTREMES: dict[str, list[tuple[float, float]]] = {
    "no pulls": [(0, 0)] * 3,
    "one arm without pulls": [(0, 0)],
    "one arm": [(1000, 30)],
    "a thousand million pulls": [(1e9, 1e8), (1e9, 1e8 + 3e4), (1e9, 0.9e8)],
    "a thousand million failures": [(1e9, 0), (1e9, 0)],
    "a thousand million successes": [(1e9, 1e9), (1e9, 1e9), (5, 1)],
    "identical arms": [(500, 25)] * 7,
    "one vastly better": [(1e6, 10), (1e6, 9e5), (1e6, 20)],
    "one new arm": [(50_000, 500), (50_000, 600), (0, 0)],
    "a reward before its decision": [(0, 2), (3, 5)],
    "evidence aged to almost nothing": [(1e-320, 0), (1e-200, 1e-200), (1e-12, 1e-13)],
    "one aged to nothing, one fresh": [(1e-30, 1e-31), (1e7, 1e5)],
    "one success at once": [(1, 1), (1, 0)],
}


def policy_for(setting: int, n_arms: int) -> Policy:
    name, parameters = SETTINGS[setting]
    if name == "fixed":
        parameters = {"shares": (*SHARES, *SHARES)[:n_arms]}
    return make_policy(name, parameters)


def evidence(pairs: list[tuple[float, float]]) -> ArmEvidence:
    table = np.array(pairs, dtype=np.float64)
    return ArmEvidence(pulls=table[:, 0].copy(), successes=table[:, 1].copy())


def require_an_allocation(propensities: FloatArray, n_arms: int) -> None:
    assert propensities.shape == (n_arms,)
    assert propensities.dtype == np.float64
    assert np.isfinite(propensities).all()
    assert (propensities >= 0).all()
    assert propensities.sum() == pytest.approx(1.0, abs=1e-9)


every_policy = pytest.mark.parametrize("setting", range(len(SETTINGS)), ids=NAMED)

# Pulls over all magnitudes, and successes up to more than the pulls, as late decisions make them.
arms = st.tuples(
    st.one_of(st.just(0.0), st.floats(0, 9).map(lambda exponent: 10**exponent)),
    st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0, 1.1)),
).map(lambda arm: (arm[0], arm[0] * arm[1]))
experiments = st.lists(arms, min_size=1, max_size=len(SHARES)).map(evidence)
common = settings(max_examples=60, deadline=None, derandomize=True)


@every_policy
@pytest.mark.parametrize("case", EXTREMES)
def test_extremes_have_an_allocation(setting: int, case: str) -> None:
    seen = evidence(EXTREMES[case])

    propensities = policy_for(setting, seen.n_arms).propensities(seen)

    require_an_allocation(propensities, seen.n_arms)
    assert sum(integer_weights(with_floor(propensities, FLOOR))) == 2**32


@every_policy
@common
@given(seen=experiments)
def test_propensities_sum_to_one(setting: int, seen: ArmEvidence) -> None:
    require_an_allocation(policy_for(setting, seen.n_arms).propensities(seen), seen.n_arms)


@every_policy
@common
@given(seen=experiments)
def test_no_propensity_is_below_the_floor(setting: int, seen: ArmEvidence) -> None:
    propensities = with_floor(policy_for(setting, seen.n_arms).propensities(seen), FLOOR)

    assert (propensities >= min(FLOOR, 0.2 / seen.n_arms)).all()
    require_an_allocation(propensities, seen.n_arms)


@every_policy
@common
@given(seen=experiments, data=st.data())
def test_relabelling_arms_relabels_propensities(
    setting: int, seen: ArmEvidence, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(seen.n_arms))))
    policy = policy_for(setting, seen.n_arms)
    relabelled = policy
    if SETTINGS[setting][0] == "fixed":
        shares = np.array((*SHARES, *SHARES)[: seen.n_arms])[order]
        relabelled = make_policy("fixed", {"shares": shares.tolist()})

    before = policy.propensities(seen)
    after = relabelled.propensities(ArmEvidence(seen.pulls[order], seen.successes[order]))

    np.testing.assert_allclose(after, before[order], atol=1e-9, rtol=0)


@every_policy
@common
@given(seen=experiments)
def test_asking_twice_changes_neither_answer_nor_evidence(setting: int, seen: ArmEvidence) -> None:
    policy, kept = policy_for(setting, seen.n_arms), copy.deepcopy(seen)

    first = policy.propensities(seen)
    second = policy.propensities(seen)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(seen.pulls, kept.pulls)
    np.testing.assert_array_equal(seen.successes, kept.successes)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("n_arms", [1, 2, 14])
def test_tied_arms_without_evidence_share_evenly(name: str, n_arms: int) -> None:
    propensities = make_policy(name, {}).propensities(ArmEvidence.none(n_arms))

    np.testing.assert_allclose(propensities, 1 / n_arms, atol=1e-9)


@pytest.mark.parametrize("name", LEARNING)
@common
@given(seen=experiments)
def test_a_new_variant_always_gets_sends(name: str, seen: ArmEvidence) -> None:
    """With default parameters, before any floor: more than nothing, beside any evidence."""
    grown = ArmEvidence(np.append(seen.pulls, 0.0), np.append(seen.successes, 0.0))

    assert make_policy(name, {}).propensities(grown)[-1] > 0


def test_a_hundred_arms_have_an_allocation() -> None:
    rng = np.random.default_rng(6)
    pulls = np.round(10 ** rng.uniform(0, 7, 100))
    seen = ArmEvidence(pulls, np.round(pulls * rng.beta(1, 20, 100)))

    for name in LEARNING:
        require_an_allocation(make_policy(name, {}).propensities(seen), 100)
