"""The index functions against the one-step conformance table, at t = 2220."""

import numpy as np
import pytest
from scipy import special

from service.bandits import indices
from service.bandits.bernoulli import kl_bernoulli

PULLS, SUCCESSES = np.array([1000.0, 1000.0, 10.0]), np.array([40.0, 50.0, 0.0])
TOTAL = 2220


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (
            indices.ucb1_index(PULLS, SUCCESSES, TOTAL),
            [0.1641391354, 0.1741391354, 1.2413913545],
        ),
        (
            indices.ucb1_index(PULLS, SUCCESSES, TOTAL, alpha=1.0),
            [0.1020695677, 0.1120695677, 0.6206956773],
        ),
        (
            indices.ucb1_tuned_index(PULLS, SUCCESSES, TOTAL),
            [0.0753893586, 0.0863665312, 0.4388981224],
        ),
        (
            indices.moss_index(PULLS, SUCCESSES, horizon=10_000, n_arms=5),
            [0.0663276885, 0.0763276885, 0.7278954160],
        ),
        (
            indices.kl_ucb_index(PULLS, SUCCESSES, TOTAL),
            [0.0691488404, 0.0817375096, 0.5372305271],
        ),
        (
            indices.kl_ucb_index(PULLS, SUCCESSES, TOTAL, c=3.0),
            [0.0812763499, 0.0946610539, 0.7491994576],
        ),
        (
            indices.bayes_ucb_index(PULLS, SUCCESSES, TOTAL),
            [0.0647367616, 0.0769147303, 0.5036522092],
        ),
    ],
    ids=["ucb1", "ucb alpha 1", "tuned", "moss", "kl-ucb", "kl-ucb c 3", "bayes-ucb"],
)
def test_the_indices_have_their_known_values(index: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(index, expected, atol=1e-9, rtol=0)


ALL = {
    "ucb1": indices.ucb1_index,
    "tuned": indices.ucb1_tuned_index,
    "kl-ucb": indices.kl_ucb_index,
    "bayes-ucb": indices.bayes_ucb_index,
}


@pytest.mark.parametrize("name", ALL)
def test_an_untried_arm_comes_first(name: str) -> None:
    index = ALL[name](np.array([0.0, 10.0]), np.array([0.0, 9.0]), 10)

    assert np.isinf(index[0])
    assert np.isfinite(index[1])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("total", [0, 0.5, 1, 2, 1e9])
def test_any_number_of_pulls_has_a_finite_index(name: str, total: float) -> None:
    index = ALL[name](np.array([0.5, 1.0, 1e9]), np.array([0.5, 2.0, 0.0]), total)

    assert np.isfinite(index).all()
    assert (index >= 0).all()


def test_the_kl_index_solves_its_equation() -> None:
    rng = np.random.default_rng(5)
    pulls = np.round(10 ** rng.uniform(0, 9, 500))
    successes = np.round(pulls * rng.beta(0.3, 2, 500))

    index = indices.kl_ucb_index(pulls, successes, 1e9)

    inside = (index < 1 - 1e-9) & (successes < pulls)
    spent = pulls * kl_bernoulli(successes / pulls, index)
    np.testing.assert_allclose(spent[inside], np.log(1e9), rtol=1e-7)
    assert (index >= successes / pulls).all()


def test_a_warm_start_changes_nothing() -> None:
    cold = indices.kl_ucb_index(PULLS, SUCCESSES, TOTAL)

    for start in (np.zeros(3), cold * 0.9, cold * 1.1, np.ones(3)):
        warm = indices.kl_ucb_index(PULLS, SUCCESSES, TOTAL, start=start)
        np.testing.assert_allclose(warm, cold, atol=1e-12)


def test_the_bayes_index_is_the_quantile_it_names() -> None:
    index = indices.bayes_ucb_index(PULLS, SUCCESSES, TOTAL)

    tail = special.betaincc(1 + SUCCESSES, 1 + PULLS - SUCCESSES, index)
    np.testing.assert_allclose(tail, 1 / TOTAL, rtol=1e-9)
