"""The figures of a split, against known values and against every outcome there is."""

from __future__ import annotations

from itertools import product
from math import exp, prod

import numpy as np
import pytest

from service.bandits.sample_ratio import (
    TILTS,
    chi_square_p,
    covariance,
    log_bayes_factor,
    log_ratios,
)
from service.bandits.split_martingale import SplitGroup, SplitMartingale


@pytest.mark.parametrize(
    ("counts", "shares", "expected"),
    [
        ([21_306, 21_387, 21_307], [1 / 3, 1 / 3, 1 / 3], -10.0823481),
        ([5_000, 5_200], [0.5, 0.5], -2.4286360),
        ([44_700, 45_489], [0.5, 0.5], -2.0278401),
        ([821_588, 815_482], [0.5, 0.5], 4.4587854),
    ],
)
def test_the_log_bayes_factor_is_the_known_one(
    counts: list[int], shares: list[float], expected: float
) -> None:
    assert log_bayes_factor(counts, shares) == pytest.approx(expected, abs=1e-6)


def test_the_p_value_is_the_known_one() -> None:
    excess = np.array([821_588.0, 815_482.0]) - 1_637_070 / 2

    p = chi_square_p(excess, covariance(np.array([[0.5, 0.5]]), np.array([1_637_070.0])))

    assert p == pytest.approx(1.82e-6, abs=5e-9)


def test_the_p_value_of_one_split_is_pearsons() -> None:
    shares, counts = np.array([0.5, 0.3, 0.2]), np.array([520.0, 310.0, 170.0])

    p = chi_square_p(counts - 1_000 * shares, covariance(shares[None, :], np.array([1_000.0])))

    pearson = ((counts - 1_000 * shares) ** 2 / (1_000 * shares)).sum()
    assert p == pytest.approx(exp(-pearson / 2), rel=1e-9)  # Two degrees of freedom.


def test_a_variant_that_could_not_be_chosen_and_was_leaves_no_doubt() -> None:
    spread = covariance(np.array([[0.5, 0.5, 0.0]]), np.array([100.0]))

    assert chi_square_p(np.array([0.0, -1.0, 1.0]), spread) == 0.0
    assert chi_square_p(np.array([1.0, -1.0, 0.0]), spread) > 0.5


def test_a_likelihood_ratio_has_mean_one_whatever_the_propensities() -> None:
    intended = np.array([[0.98, 0.01, 0.01], [0.2, 0.0, 0.8]])

    mean = sum(
        intended[:, k, None, None] * np.exp(log_ratios(intended, np.tile(np.eye(3)[k], (2, 1))))
        for k in range(3)
    )

    assert mean == pytest.approx(np.ones((2, 3, TILTS.size)), abs=1e-14)


def propensities(before: tuple[int, ...]) -> list[float]:
    """Favour what was chosen before, as a policy may; after three decisions a variant joins."""
    counts = [1.0 + before.count(k) ** 2 for k in range(2)]
    if len(before) >= 3:
        counts.append(0.5)
    return [count / sum(counts) for count in counts]


def test_the_evidence_has_mean_one_over_all_outcomes_of_adaptive_traffic() -> None:
    total = 0.0
    for picks in product(range(3), repeat=5):
        shares = [propensities(picks[:i]) for i in range(5)]
        if any(pick >= len(share) for pick, share in zip(picks, shares, strict=True)):
            continue
        test = SplitMartingale(first_hour=0, n_variants=2)
        for i, (pick, share) in enumerate(zip(picks, shares, strict=True)):
            test.add([SplitGroup(i // 2 * 5, 1, share, [int(k == pick) for k in range(3)])])
        chance = prod(share[pick] for pick, share in zip(picks, shares, strict=True))
        total += chance * exp(test.log_evidence)

    assert total == pytest.approx(1.0, abs=1e-12)


def biased(hour: int, revision: int = 1) -> SplitGroup:
    return SplitGroup(hour, revision, (0.5, 0.5), (5_500, 4_500))


def honest(hour: int, revision: int = 1) -> SplitGroup:
    return SplitGroup(hour, revision, (0.5, 0.5), (5_000, 5_000))


def test_an_alarm_lasts_until_the_evidence_is_gone() -> None:
    test = SplitMartingale(first_hour=0, n_variants=2)

    alarmed = []
    for group in [honest(0), biased(1), *[honest(hour) for hour in range(2, 30)]]:
        test.add([group])
        alarmed.append((test.is_alarmed, test.log_evidence >= 0.0))

    assert not alarmed[0][0]
    assert alarmed[1][0]
    assert alarmed[2:] == sorted(alarmed[2:], reverse=True)
    assert all(is_alarmed == has_evidence for is_alarmed, has_evidence in alarmed[1:])
    assert not test.is_alarmed


def test_a_newer_configuration_begins_an_alarmed_test_anew_and_no_other() -> None:
    alarmed = SplitMartingale(first_hour=0, n_variants=2)
    calm = alarmed.copy()

    alarmed.add([biased(0), honest(0, revision=2)])
    calm.add([honest(0), honest(0, revision=2)])

    assert (alarmed.is_alarmed, alarmed.decisions) == (False, 10_000)
    assert calm.decisions == 20_000


def test_decisions_of_an_older_configuration_do_not_begin_an_alarmed_test_anew() -> None:
    test = SplitMartingale(first_hour=0, n_variants=2)
    test.add([biased(0, revision=1), biased(1, revision=2)])

    test.add([biased(2, revision=1), biased(2, revision=2)])

    assert test.is_alarmed
    assert test.decisions == sum(sum(biased(0).pulls) for _ in range(3))


def test_what_began_late_is_told_from_what_was_before() -> None:
    test = SplitMartingale(first_hour=0, n_variants=2)

    test.add([honest(hour) for hour in range(100)] + [biased(101)])

    suspicion = test.suspicion
    assert (suspicion.since_hour, suspicion.decisions) == (101, 10_000)
    shares = [suspicion.intended, suspicion.actual]
    assert shares == pytest.approx([0.5, (0.45, 0.55)[suspicion.variant == 0]])


def test_the_same_decisions_give_the_same_evidence_at_once_and_bit_by_bit() -> None:
    groups = [biased(0), honest(0), honest(3), SplitGroup(7, 1, (0.2, 0.3, 0.5), (19, 30, 51))]
    whole, parts = SplitMartingale(0, 2), SplitMartingale(0, 2)

    whole.add(groups)
    for group in groups:
        parts.add([group])

    assert whole.log_evidence == pytest.approx(parts.log_evidence, abs=1e-9)
    assert whole.suspicion.variant == parts.suspicion.variant
    assert whole.chi_square_p == pytest.approx(parts.chi_square_p, rel=1e-9)


def test_a_copy_goes_on_by_itself() -> None:
    test = SplitMartingale(first_hour=0, n_variants=2)
    test.add([honest(0)])
    before = test.log_evidence

    test.copy().add([biased(1)])

    assert test.log_evidence == before
    assert test.decisions == 10_000
