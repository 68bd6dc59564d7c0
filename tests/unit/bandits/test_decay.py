"""From buckets to effective statistics."""

import numpy as np
import pytest

from service.bandits.decay import BucketArrays, effective_evidence


def buckets(rows: list[tuple[int, int, float, float]]) -> BucketArrays:
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return BucketArrays(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2], table[:, 3])


def test_without_a_half_life_every_hour_counts_the_same() -> None:
    seen = buckets([(1, 480_000, 10, 1), (1, 3, 5, 2), (0, 480_001, 7, 0)])

    evidence = effective_evidence(seen, 3, now_hours=500_000.0, half_life_hours=None)

    assert evidence.pulls.tolist() == [7.0, 15.0, 0.0]
    assert evidence.successes.tolist() == [0.0, 3.0, 0.0]


def test_a_bucket_counts_half_at_the_half_life_of_its_middle() -> None:
    seen = buckets([(0, 100, 80, 8), (1, 124, 80, 8)])

    evidence = effective_evidence(seen, 2, now_hours=148.5, half_life_hours=24.0)

    np.testing.assert_allclose(evidence.pulls, [20.0, 40.0])
    np.testing.assert_allclose(evidence.successes, [2.0, 4.0])


def test_the_first_half_of_an_hour_is_not_older_than_now() -> None:
    evidence = effective_evidence(buckets([(0, 100, 80, 8)]), 1, 100.1, half_life_hours=0.5)

    assert evidence.pulls.tolist() == [80.0]


def test_an_arm_that_is_not_pulled_ages_as_well() -> None:
    """Each hour at gamma = .95 shrinks both arms' counts by exactly .95, pulled or not."""
    half_life = np.log(0.5) / np.log(0.95)
    seen = buckets([(0, 10, 100, 10), (1, 10, 50, 5)])

    now = effective_evidence(seen, 2, 20.5, half_life)
    later = effective_evidence(seen, 2, 21.5, half_life)

    np.testing.assert_allclose(later.pulls / now.pulls, [0.95, 0.95])
    np.testing.assert_allclose(later.successes / now.successes, [0.95, 0.95])


def test_ancient_evidence_vanishes_quietly() -> None:
    evidence = effective_evidence(buckets([(0, 0, 1e9, 1e8)]), 1, 500_000.0, half_life_hours=1.0)

    assert evidence.pulls.tolist() == [0.0]


def test_no_buckets_are_no_evidence() -> None:
    evidence = effective_evidence(buckets([]), 2, 1.0, half_life_hours=5.0)

    assert evidence.pulls.tolist() == evidence.successes.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("half_life", [0.0, -1.0, np.nan])
def test_a_half_life_must_be_positive(half_life: float) -> None:
    with pytest.raises(ValueError, match="half-life"):
        effective_evidence(buckets([(0, 0, 1, 0)]), 1, 1.0, half_life)
