"""Epsilon-greedy, uniform and fixed shares."""

import numpy as np
import pytest

from service.bandits.epsilon_greedy import EpsilonGreedy
from service.bandits.evidence import ArmEvidence
from service.bandits.fixed import Fixed, Uniform
from service.bandits.policy import PolicyParameterError


def evidence(pulls: list[float], successes: list[float]) -> ArmEvidence:
    return ArmEvidence(np.array(pulls), np.array(successes))


def test_the_leader_gets_all_but_epsilon() -> None:
    answer = EpsilonGreedy(epsilon=0.3).propensities(evidence([90, 80, 100], [9, 20, 9]))

    np.testing.assert_allclose(answer, [0.1, 0.8, 0.1])


def test_tied_leaders_share() -> None:
    answer = EpsilonGreedy(epsilon=0.1).propensities(evidence([100, 100, 100], [9, 9, 3]))

    np.testing.assert_allclose(answer, [1.45 / 3, 1.45 / 3, 0.1 / 3])


def test_the_leader_is_judged_by_its_posterior_mean() -> None:
    """One success in one send is (1 + 1) / (2 + 1), less than 80 in 100."""
    answer = EpsilonGreedy(epsilon=0.0).propensities(evidence([1, 100], [1, 80]))

    assert answer.tolist() == [0.0, 1.0]


def test_an_even_split_ignores_the_evidence() -> None:
    assert Uniform().propensities(evidence([1, 100], [1, 0])).tolist() == [0.5, 0.5]


def test_fixed_shares_are_normalised() -> None:
    assert Fixed((6, 0, 2)).propensities(ArmEvidence.none(3)).tolist() == [0.75, 0.0, 0.25]


def test_fixed_shares_must_fit_the_arms() -> None:
    with pytest.raises(PolicyParameterError, match="one share per variant, 3, not 2"):
        Fixed((1, 1)).propensities(ArmEvidence.none(3))
