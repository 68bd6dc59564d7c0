"""Cumulative regret against independently simulated anchors, policy by policy, problem by problem.

Each cell compares the mean of N replications with its anchor and fails beyond 4 standard errors
of the difference, the anchor's own included. Were the means exactly normal, chance
alone would fail one cell once in 16,000 seeds and any of the 16 once in 1,000. The seed is fixed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from service.bandits.indices import ucb1_index, ucb1_tuned_index
from service.bandits.simulation import Chooser, PosteriorDraw, WarmKlUcb, simulate

STANDARD_ERRORS = 4.0


class Problem(NamedTuple):
    """Rates and a horizon."""

    rates: list[float]
    horizon: int


class Cell(NamedTuple):
    """One policy on one problem: the anchor, its standard error, and our replications."""

    policy: str
    problem: str
    anchor: float
    error: float
    replications: int


PROBLEMS = {
    "nine arms": Problem([0.1 * arm for arm in range(1, 10)], 10_000),
    "ten low arms": Problem([0.1] + 3 * [0.05] + 3 * [0.02] + 3 * [0.01], 20_000),
    "hillstrom visits": Problem([0.182757, 0.1514, 0.106167], 20_000),
    "hillstrom conversions": Problem([0.012531, 0.008837, 0.005726], 64_000),
}

POLICIES: dict[str, Callable[[np.random.Generator], Chooser]] = {
    "thompson": PosteriorDraw,
    "kl_ucb": lambda _: WarmKlUcb(),
    "ucb1_tuned": lambda _: ucb1_tuned_index,
    "ucb1": lambda _: ucb1_index,
}

CELLS = [
    Cell("thompson", "nine arms", 41.7, 0.5, 400),
    Cell("thompson", "ten low arms", 90.9, 0.8, 200),
    Cell("thompson", "hillstrom visits", 45.7, 2.0, 400),
    Cell("thompson", "hillstrom conversions", 28.2, 1.0, 300),
    Cell("kl_ucb", "nine arms", 59.1, 0.9, 150),
    Cell("kl_ucb", "ten low arms", 129.7, 1.6, 100),
    Cell("kl_ucb", "hillstrom visits", 68.1, 1.9, 300),
    Cell("kl_ucb", "hillstrom conversions", 48.4, 1.7, 150),
    Cell("ucb1_tuned", "nine arms", 55.5, 0.7, 400),
    Cell("ucb1_tuned", "ten low arms", 241.2, 1.2, 300),
    Cell("ucb1_tuned", "hillstrom visits", 68.0, 1.2, 500),
    Cell("ucb1_tuned", "hillstrom conversions", 95.7, 0.9, 300),
    Cell("ucb1", "nine arms", 331.5, 1.3, 400),
    Cell("ucb1", "ten low arms", 840.2, 1.8, 300),
    Cell("ucb1", "hillstrom visits", 248.4, 1.4, 500),
    Cell("ucb1", "hillstrom conversions", 193.2, 0.3, 300),
]


@pytest.mark.statistical
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.policy}, {cell.problem}")
def test_the_regret_is_that_of_the_anchor(cell: Cell) -> None:
    """Chance alone fails a cell with probability 6e-5 (4 standard errors, two-sided)."""
    problem, rng = PROBLEMS[cell.problem], np.random.default_rng(20_26)

    regret = simulate(
        np.array(problem.rates),
        POLICIES[cell.policy](rng),
        problem.horizon,
        cell.replications,
        rng,
    )

    error = np.hypot(regret.std(ddof=1) / np.sqrt(cell.replications), cell.error)
    assert abs(regret.mean() - cell.anchor) <= STANDARD_ERRORS * error
