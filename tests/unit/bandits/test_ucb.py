"""The UCBs in whole-send form, against playing the index pull by pull."""

from collections.abc import Callable

import numpy as np
import pytest

from service.bandits import indices, ucb
from service.bandits.arrays import FloatArray
from service.bandits.evidence import ArmEvidence
from service.bandits.policy import Policy
from service.bandits.propensity import with_floor

Index = Callable[[FloatArray, FloatArray, float], FloatArray]

FAMILY: dict[str, tuple[Policy, Index]] = {
    "ucb1": (ucb.Ucb1(), indices.ucb1_index),
    "ucb1_tuned": (ucb.Ucb1Tuned(), indices.ucb1_tuned_index),
    "kl_ucb": (ucb.KlUcb(), indices.kl_ucb_index),
    "kl_ucb with c 3": (ucb.KlUcb(c=3.0), lambda n, s, t: indices.kl_ucb_index(n, s, t, c=3.0)),
    "bayes_ucb": (ucb.BayesUcb(), indices.bayes_ucb_index),
}
PARTS = 2000


def evidence(pulls: list[float], successes: list[float]) -> ArmEvidence:
    return ArmEvidence(pulls=np.array(pulls, float), successes=np.array(successes, float))


def played(index: Index, seen: ArmEvidence) -> FloatArray:
    """Return the shares of the next batch, played in small parts with the means held."""
    total = seen.pulls.sum()
    batch = max(1000.0, total)
    pooled = seen.successes.sum() / max(total, 1.0)
    means = np.where(seen.pulls > 0, seen.successes / np.maximum(seen.pulls, 1.0), pooled)
    sent = np.zeros(seen.n_arms)
    for _ in range(PARTS):
        scores = index(seen.pulls + sent, seen.successes + means * sent, total + batch)
        sent[np.argmax(scores)] += batch / PARTS
    shares: FloatArray = sent / batch
    return shares


SEEN: dict[str, tuple[list[float], list[float]]] = {
    "close": ([1000, 1000], [100, 108]),
    "apart": ([2000, 1000], [100, 60]),
    "rare": ([500, 1000, 800], [4, 12, 6]),
    "tied without rewards": ([33400, 33250, 33350], [0, 0, 0]),
    "a new arm": ([50_000, 50_000, 0], [500, 600, 0]),
    "hardly begun": ([10, 20, 5], [1, 0, 2]),
    "four": ([300, 100, 20, 2000], [10, 2, 1, 50]),
}


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("case", SEEN)
def test_the_shares_are_those_of_playing_the_index(name: str, case: str) -> None:
    policy, index = FAMILY[name]
    seen = evidence(*SEEN[case])

    np.testing.assert_allclose(policy.propensities(seen), played(index, seen), atol=2 / PARTS)


@pytest.mark.parametrize("name", FAMILY)
def test_nothing_sent_yet_is_an_even_split(name: str) -> None:
    answer = FAMILY[name][0].propensities(ArmEvidence.none(3))

    np.testing.assert_allclose(answer, 1 / 3, atol=1e-12)


@pytest.mark.parametrize("name", FAMILY)
def test_the_used_arms_end_at_one_index(name: str) -> None:
    policy, index = FAMILY[name]
    pulls, successes = np.array([3000.0, 2000.0, 900.0]), np.array([150.0, 96.0, 41.0])

    shares = policy.propensities(ArmEvidence(pulls, successes))

    sent, total = shares * pulls.sum(), 2 * pulls.sum()
    level = index(pulls + sent, successes * (1 + sent / pulls), total)[shares > 0]
    np.testing.assert_allclose(level, level[0], rtol=1e-7)


@pytest.mark.parametrize("name", FAMILY)
def test_a_new_arm_gets_sends_however_sure_the_others_are(name: str) -> None:
    answer = FAMILY[name][0].propensities(evidence([1e9, 1e9, 0], [1e9, 2e8, 0]))

    assert answer[2] > 0


@pytest.mark.parametrize("name", FAMILY)
def test_two_arms_that_never_failed_share(name: str) -> None:
    answer = FAMILY[name][0].propensities(evidence([50, 50, 50], [50, 50, 10]))

    assert answer[0] == pytest.approx(answer[1], abs=1e-9)
    assert answer[0] > 0.33


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("n_arms", [2, 3, 10])
@pytest.mark.parametrize(
    ("slice_size", "stale_slices"), [(500, 0), (500, 7), (3000, 3), (10_000, 0), (10_000, 4)]
)
def test_one_send_before_any_reward_stays_even(
    name: str, n_arms: int, slice_size: int, stale_slices: int
) -> None:
    """A send of 100,000 in slices, the allocation up to several slices old: 1/K + 5 points at most.

    The totals stray by less than a point and a single allocation by 1.6 points (one standard
    error, two arms, 1,000 sends), so chance alone fails this less than once in a million seeds.
    """
    policy, rng = FAMILY[name][0], np.random.default_rng(2)
    history = [np.zeros(n_arms)]
    largest = 0.0

    while history[-1].sum() < 100_000:
        known = history[max(0, len(history) - 1 - stale_slices)]
        answer = policy.propensities(ArmEvidence(known, np.zeros(n_arms)))
        largest = max(largest, float(answer.max()))
        history.append(history[-1] + rng.multinomial(slice_size, with_floor(answer, 0.01)))

    assert history[-1].max() / history[-1].sum() <= 1 / n_arms + 0.05
    assert largest <= 1 / n_arms + 0.1


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("slice_size", "stale_slices"), [(500, 7), (10_000, 0), (10_000, 4)])
def test_one_send_to_tied_arms_stays_even_until_its_rewards_are_back(
    name: str, slice_size: int, stale_slices: int
) -> None:
    """As before any reward, but after 30,000 sends with equal rates: 1/3 + 5 points at most.

    Over 400 seeds the largest share was 1/3 + 1.2 points on average (standard deviation 0.9) and
    3.9 at most, so chance fails a case less than once in 400 seeds; the seed is fixed.
    """
    policy, rng = FAMILY[name][0], np.random.default_rng(2)
    before, successes = np.full(3, 10_000.0), np.full(3, 500.0)
    history = [before]

    while history[-1].sum() < 130_000:
        known = history[max(0, len(history) - 1 - stale_slices)]
        answer = with_floor(policy.propensities(ArmEvidence(known, successes)), 0.01)
        history.append(history[-1] + rng.multinomial(slice_size, answer))

    assert ((history[-1] - before) / 100_000).max() <= 1 / 3 + 0.05
