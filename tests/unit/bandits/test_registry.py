"""Policies by name, and the sentences that refuse them."""

from collections.abc import Mapping

import pytest

from service.bandits.epsilon_greedy import EpsilonGreedy
from service.bandits.fixed import Fixed
from service.bandits.policy import PolicyParameterError
from service.bandits.registry import POLICY_NAMES, make_policy
from service.bandits.thompson import Thompson, TopTwoThompson
from service.bandits.ucb import KlUcb


def test_the_names_are_those_of_the_contract() -> None:
    assert POLICY_NAMES == (
        "thompson",
        "top_two_thompson",
        "ucb1",
        "ucb1_tuned",
        "kl_ucb",
        "bayes_ucb",
        "epsilon_greedy",
        "uniform",
        "fixed",
    )


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("thompson", Thompson(1.0, 1.0)),
        ("top_two_thompson", TopTwoThompson(1.0, 1.0, 0.5)),
        ("kl_ucb", KlUcb(0.0)),
        ("epsilon_greedy", EpsilonGreedy(0.1)),
    ],
)
def test_parameters_have_their_defaults(name: str, policy: object) -> None:
    assert make_policy(name, {}) == policy


@pytest.mark.parametrize(
    ("name", "parameters", "policy"),
    [
        ("thompson", {"alpha": 2, "beta": 40.5}, Thompson(2.0, 40.5)),
        ("top_two_thompson", {"coin": 0.25}, TopTwoThompson(coin=0.25)),
        ("epsilon_greedy", {"epsilon": 1}, EpsilonGreedy(1.0)),
        ("fixed", {"shares": [1, 2.5]}, Fixed((1.0, 2.5))),
    ],
)
def test_parameters_are_taken(name: str, parameters: Mapping[str, object], policy: object) -> None:
    assert make_policy(name, parameters) == policy


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("softmax", {}, "unknown policy; there are thompson"),
        ("uniform", {"epsilon": 0.1}, "uniform has no such parameter; it has none"),
        ("thompson", {"gamma": 1}, "thompson has no such parameter; it has alpha, beta"),
        ("thompson", {"alpha": "1"}, "alpha must be a number"),
        ("thompson", {"alpha": True}, "alpha must be a number"),
        ("thompson", {"alpha": None}, "alpha must be a number"),
        ("thompson", {"beta": 0}, "beta must be between 0.001 and 1e"),
        ("thompson", {"beta": float("nan")}, "beta must be between"),
        ("thompson", {"beta": 10**400}, "beta must be between"),
        ("top_two_thompson", {"coin": 0}, "coin must be between"),
        ("kl_ucb", {"c": -1}, "c must be between 0 and 10"),
        ("epsilon_greedy", {"epsilon": 1.5}, "epsilon must be between 0 and 1"),
        ("fixed", {}, "fixed needs shares"),
        ("fixed", {"shares": []}, "shares must be a list"),
        ("fixed", {"shares": "12"}, "shares must be a list"),
        ("fixed", {"shares": 3}, "shares must be a list"),
        ("fixed", {"shares": [0, 0]}, "shares must not all be 0"),
        ("fixed", {"shares": [1, -1]}, "each of shares must be between 0"),
        ("fixed", {"shares": [1, "x"]}, "each of shares must be a number"),
        ("fixed", {"shares": [1e-320, 0]}, None),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(
    name: str, parameters: Mapping[str, object], sentence: str | None
) -> None:
    if sentence is None:
        make_policy(name, parameters)
        return

    with pytest.raises(PolicyParameterError, match=sentence):
        make_policy(name, parameters)


def test_a_refusal_is_a_value_error() -> None:
    assert issubclass(PolicyParameterError, ValueError)
