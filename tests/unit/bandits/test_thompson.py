"""Thompson sampling and top-two sampling, exact."""

import numpy as np
import pytest

from service.bandits.evidence import ArmEvidence
from service.bandits.posteriors import beta_best
from service.bandits.thompson import Thompson, TopTwoThompson, top_two


def evidence(pulls: list[float], successes: list[float]) -> ArmEvidence:
    return ArmEvidence(pulls=np.array(pulls), successes=np.array(successes))


def test_thompson_answers_the_probability_of_being_best() -> None:
    answer = Thompson(alpha=2.0, beta=5.0).propensities(evidence([100, 50], [10, 9]))

    expected = beta_best(np.array([12.0, 11.0]), np.array([95.0, 46.0])).p_best
    np.testing.assert_allclose(answer, expected, atol=1e-15)


def test_a_reward_ahead_of_its_decision_counts_no_negative_failures() -> None:
    answer = Thompson().propensities(evidence([0, 0], [3, 0]))

    np.testing.assert_allclose(answer, [0.8, 0.2], atol=1e-12)


def test_top_two_has_its_known_values() -> None:
    best = np.array([0.0183745409, 0.2840990846, 0.6975263745])

    answer = top_two(best, 0.5)

    np.testing.assert_allclose(answer, [0.0340196790, 0.4722851619, 0.4936951591], atol=1e-9)
    assert answer.sum() == pytest.approx(1.0, abs=1e-10)


def test_top_two_agrees_with_redrawing_until_the_challenger_differs() -> None:
    """Chance alone would fail this less than once in 10,000 seeds: 4 standard errors."""
    best, rng = np.array([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(11)
    draws = rng.choice(4, p=best, size=(200_000, 12))

    differs = draws != draws[:, :1]
    challenger = draws[np.arange(len(draws)), differs.argmax(axis=1)]
    frequency = np.bincount(np.concatenate([draws[:, 0], challenger]), minlength=4) / 400_000

    np.testing.assert_allclose(frequency, top_two(best, 0.5), atol=4 * 0.5 / np.sqrt(200_000))


def test_two_arms_and_a_fair_coin_make_an_even_test() -> None:
    answer = TopTwoThompson().propensities(evidence([1e6, 1e6], [1e5, 2e5]))

    np.testing.assert_allclose(answer, [0.5, 0.5], atol=1e-12)


def test_a_coin_of_one_is_thompson_sampling() -> None:
    seen = evidence([100, 100, 100], [10, 12, 14])

    np.testing.assert_allclose(
        TopTwoThompson(coin=1.0).propensities(seen), Thompson().propensities(seen), atol=1e-12
    )


def test_the_challenger_of_a_certain_leader_is_the_arm_nearest_to_it() -> None:
    answer = TopTwoThompson().propensities(evidence([1e6, 1e6, 1e6], [1e5, 1.5e5, 2e5]))

    np.testing.assert_allclose(answer, [0.0, 0.5, 0.5], atol=1e-9)


def test_equal_challengers_of_a_certain_leader_share() -> None:
    answer = TopTwoThompson(coin=0.6).propensities(evidence([1e5] * 4, [1e4, 1e4, 2e4, 1e4]))

    np.testing.assert_allclose(answer, [0.4 / 3, 0.4 / 3, 0.6, 0.4 / 3], atol=1e-12)


def test_the_limit_continues_the_exact_form() -> None:
    """Just before and after the leader is certain the challengers' shares are alike."""
    before = TopTwoThompson().propensities(evidence([5000] * 3, [500, 640, 590]))
    after = TopTwoThompson().propensities(evidence([5000] * 3, [498, 655, 590]))

    assert after[0] < before[0] < 0.01
    np.testing.assert_allclose(before, after, atol=0.02)


def test_a_single_arm_gets_every_send() -> None:
    assert TopTwoThompson().propensities(evidence([5], [1])).tolist() == [1.0]
