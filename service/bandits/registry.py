"""The policies by name: what an experiment may ask for, and within which limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from service.bandits.epsilon_greedy import EpsilonGreedy
from service.bandits.fixed import Fixed, Uniform
from service.bandits.policy import Policy, PolicyParameterError
from service.bandits.thompson import Thompson, TopTwoThompson
from service.bandits.ucb import BayesUcb, KlUcb, Ucb1, Ucb1Tuned

_SHARE_MAX = 1e9

Check = Callable[[str, object], object]
NumberCheck = Callable[[str, object], float]


def _number(low: float, high: float) -> NumberCheck:
    """Return a check that a parameter is a number within [low, high]."""

    def check(name: str, value: object) -> float:
        # A boolean is an int to Python but never meant as a number here.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PolicyParameterError(f"{name} must be a number")
        if not low <= value <= high:
            raise PolicyParameterError(f"{name} must be between {low:g} and {high:g}")
        return float(value)

    return check


def _shares(name: str, value: object) -> tuple[float, ...]:
    """Check that a parameter is a list of shares, not all zero."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise PolicyParameterError(f"{name} must be a list with one number per variant")
    check = _number(0.0, _SHARE_MAX)
    shares = tuple(check(f"each of {name}", share) for share in value)
    if not math.fsum(shares) > 0:
        raise PolicyParameterError(f"{name} must not all be 0")
    return shares


@dataclass(frozen=True, slots=True)
class _Entry:
    make: Callable[..., Policy]
    checks: Mapping[str, Check]
    required: frozenset[str] = frozenset()


_PRIOR: Mapping[str, Check] = {"alpha": _number(1e-3, 1e6), "beta": _number(1e-3, 1e6)}

_ENTRIES: Mapping[str, _Entry] = MappingProxyType(
    {
        "thompson": _Entry(Thompson, _PRIOR),
        "top_two_thompson": _Entry(TopTwoThompson, {**_PRIOR, "coin": _number(0.01, 1.0)}),
        "ucb1": _Entry(Ucb1, {}),
        "ucb1_tuned": _Entry(Ucb1Tuned, {}),
        "kl_ucb": _Entry(KlUcb, {"c": _number(0.0, 10.0)}),
        "bayes_ucb": _Entry(BayesUcb, {}),
        "epsilon_greedy": _Entry(EpsilonGreedy, {"epsilon": _number(0.0, 1.0)}),
        "uniform": _Entry(Uniform, {}),
        "fixed": _Entry(Fixed, {"shares": _shares}, required=frozenset({"shares"})),
    }
)

POLICY_NAMES: tuple[str, ...] = tuple(_ENTRIES)


def make_policy(name: str, parameters: Mapping[str, object]) -> Policy:
    """Return the policy of that name with those parameters.

    Parameters
    ----------
    name
        One of `POLICY_NAMES`.
    parameters
        Parameters by name; those left out take their defaults.

    Raises
    ------
    PolicyParameterError
        If the policy or a parameter is unknown, missing, of a wrong type or out of range. The
        message is one short sentence for the caller.

    Examples
    --------
    >>> make_policy("thompson", {"alpha": 2})
    Thompson(alpha=2.0, beta=1.0)
    """
    entry = _ENTRIES.get(name)
    if entry is None:
        raise PolicyParameterError(f"unknown policy; there are {', '.join(POLICY_NAMES)}")
    for parameter in parameters:
        if parameter not in entry.checks:
            raise PolicyParameterError(f"{name} has no such parameter; {_known(entry)}")
    for parameter in entry.required - parameters.keys():
        raise PolicyParameterError(f"{name} needs {parameter}")
    return entry.make(**{key: entry.checks[key](key, parameters[key]) for key in parameters})


def _known(entry: _Entry) -> str:
    return f"it has {', '.join(entry.checks)}" if entry.checks else "it has none"
