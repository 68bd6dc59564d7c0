"""The numbers of a report against known values."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from scipy import stats

from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.evidence import Bucket, BucketKey
from service.domain.experiment import (
    EvidenceSpec,
    Experiment,
    PolicySpec,
    Variant,
    VariantState,
)
from service.domain.reward import MICROS
from service.reporting.estimates import Estimates, estimates_of, prior_of, totals_of

NOW_MS = 20_000 * DAY_MS
# Kevin Hillstrom's e-mail test: sends and conversions of men's, women's and no e-mail.
HILLSTROM = ((21_307, 267), (21_387, 189), (21_306, 122))


def buckets_of(*counts: tuple[int, int], hours_ago: int = 0) -> list[Bucket]:
    hour = NOW_MS // HOUR_MS - hours_ago
    return [
        Bucket(
            BucketKey(1, "", variant, hour),
            pulls=pulls,
            conversions=conversions,
            value_micros=conversions * MICROS,
            events={"conversion": conversions},
        )
        for variant, (pulls, conversions) in enumerate(counts)
    ]


def an_experiment(n_variants: int) -> Experiment:
    variants = tuple(Variant(f"v{i}", is_control=i == 0) for i in range(n_variants))
    return Experiment(1, 1, "e", 1, b"", variants)


def estimated(experiment: Experiment, buckets: list[Bucket]) -> Estimates:
    totals = totals_of(buckets, len(experiment.variants))
    return estimates_of(experiment, buckets, totals, NOW_MS)


def test_the_hillstrom_conversions_give_the_known_probabilities() -> None:
    found = estimated(an_experiment(3), buckets_of(*HILLSTROM))

    assert found.p_best[0] == pytest.approx(0.999899123, abs=1e-9)
    assert found.expected_loss[0] == pytest.approx(2.4154e-8, rel=1e-4)
    assert sum(p or 0.0 for p in found.p_best) == pytest.approx(1.0, abs=1e-10)


def test_the_interval_holds_95_percent_of_the_posterior() -> None:
    found = estimated(an_experiment(3), buckets_of(*HILLSTROM))

    expected = [stats.beta(1 + s, 1 + n - s).interval(0.95) for n, s in HILLSTROM]
    assert list(zip(found.ci_low, found.ci_high, strict=True)) == [
        pytest.approx(interval, rel=1e-9) for interval in expected
    ]


def test_the_prior_of_the_policy_shapes_the_estimates() -> None:
    prior = PolicySpec("thompson", {"alpha": 2, "beta": 50})
    experiment = replace(an_experiment(2), policy=prior)

    found = estimated(experiment, buckets_of((10, 1), (10, 0)))

    expected = stats.beta(3, 59).interval(0.95)
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("policy", "prior"),
    [
        (PolicySpec("thompson"), (1.0, 1.0)),
        (PolicySpec("thompson", {"beta": 30}), (1.0, 30.0)),
        (PolicySpec("top_two_thompson", {"alpha": 2, "coin": 0.5}), (2.0, 1.0)),
        (PolicySpec("fixed", {"shares": {"v0": 1, "v1": 1}}), (1.0, 1.0)),
        (PolicySpec("kl_ucb", {"c": 0.5}), (1.0, 1.0)),
    ],
)
def test_a_policy_without_a_prior_has_the_uniform_one(
    policy: PolicySpec, prior: tuple[float, float]
) -> None:
    assert prior_of(policy) == prior


def test_the_half_life_ages_the_comparison_and_not_the_interval() -> None:
    old = buckets_of((1_000, 100), (1_000, 50), hours_ago=24)
    experiment = replace(an_experiment(2), evidence=EvidenceSpec(half_life_seconds=86_400))

    aged = estimated(experiment, old)
    whole = estimated(an_experiment(2), old)

    # The bucket's middle is 23.5 hours old.
    assert aged.effective_pulls == pytest.approx([1_000 * 2 ** (-23.5 / 24)] * 2)
    assert aged.effective_rewards == pytest.approx(
        [100 * 2 ** (-23.5 / 24), 50 * 2 ** (-23.5 / 24)]
    )
    assert (aged.p_best[0] or 0) < (whole.p_best[0] or 0)
    assert (aged.ci_low, aged.ci_high) == (whole.ci_low, whole.ci_high)


def test_more_rewards_than_pulls_are_survived() -> None:
    found = estimated(an_experiment(2), buckets_of((0, 3), (5, 1)))

    assert found.ci_high[0] == pytest.approx(stats.beta(4, 1).ppf(0.975))
    assert all(0.0 <= (p or 0.0) <= 1.0 for p in found.p_best)


def test_negative_value_is_only_a_sum() -> None:
    (bucket,) = buckets_of((5, 1))
    bucket.value_micros = -2_500_000

    (total,) = totals_of([bucket], 1)

    assert (total.value, total.rate) == (-2.5, 0.2)


def test_nothing_sent_has_no_rate_and_the_priors_interval() -> None:
    found = estimated(an_experiment(2), [])

    assert totals_of([], 2)[0].rate is None
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((0.025, 0.975))
    assert found.p_best == pytest.approx([0.5, 0.5])


def test_only_active_variants_are_compared() -> None:
    experiment = an_experiment(3)
    states = (VariantState.ACTIVE, VariantState.PAUSED, VariantState.RETIRED)
    variants = tuple(
        replace(v, state=state) for v, state in zip(experiment.variants, states, strict=True)
    )

    found = estimated(replace(experiment, variants=variants), buckets_of(*HILLSTROM))

    assert (found.p_best, found.expected_loss) == ([1.0, None, None], [0.0, None, None])


def test_without_an_active_variant_nothing_is_compared() -> None:
    variants = (Variant("a", is_control=True, state=VariantState.PAUSED),)

    found = estimated(replace(an_experiment(1), variants=variants), buckets_of((10, 1)))

    assert found.p_best == [None]


def test_hours_and_events_of_one_variant_add_up() -> None:
    one, other = buckets_of((10, 1)), buckets_of((20, 3), hours_ago=5)
    other[0].events = {"conversion": 3, "unsubscribe": 2}

    (total,) = totals_of([*one, *other], 1)

    assert (total.pulls, total.rewards, total.value) == (30, 4, 4.0)
    assert total.events == {"conversion": 4, "unsubscribe": 2}
