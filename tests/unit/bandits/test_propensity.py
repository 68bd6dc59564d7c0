"""The floor, integer weights and what counts as a move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bandits.propensity import integer_weights, moved, with_floor


def test_the_floor_is_mixed_in() -> None:
    answer = with_floor(np.array([0.7, 0.3, 0.0]), 0.02)

    np.testing.assert_allclose(answer, [0.02 + 0.94 * 0.7, 0.02 + 0.94 * 0.3, 0.02], atol=1e-15)


def test_the_floors_of_all_arms_take_a_fifth_of_the_sends_at_most() -> None:
    answer = with_floor(np.array([1.0] + 99 * [0.0]), 0.01)

    np.testing.assert_allclose(answer[1:], 0.002)
    assert answer.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("floor", [-0.01, 1.01, np.nan])
def test_a_floor_outside_its_range_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        with_floor(np.array([1.0]), floor)


SPLITS = {
    "one arm": [1.0],
    "nothing for one": [1.0, 0.0],
    "thirds": [1 / 3] * 3,
    "tiny": [1.0, 1e-300, 1e-12, 0.0],
    "a thousand": [0.001] * 1000,
    "not quite normalised": [0.5 + 5e-10, 0.5],
    "all but nothing": [1e-300, 1e-300],
}


@pytest.mark.parametrize("name", SPLITS)
def test_the_weights_sum_to_the_whole_and_forget_nobody(name: str) -> None:
    shares = np.array(SPLITS[name])

    weights = integer_weights(shares)

    assert sum(weights) == 2**32
    assert [weight > 0 for weight in weights] == (shares > 0).tolist()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda numbers: sum(numbers) > 0))
def test_every_weight_is_within_one_of_its_share(numbers: list[float]) -> None:
    shares = np.array(numbers) / sum(numbers)

    weights = integer_weights(shares)

    assert sum(weights) == 2**32
    # The bumps of shares below 2**-32 are paid for by the largest, which strays further.
    errors = np.sort(np.abs(np.array(weights) - shares * 2**32))
    assert (errors[:-1] <= 1.0).all()
    assert errors[-1] <= len(weights)


def test_the_largest_remainders_get_what_is_left() -> None:
    """2**32 / 3 is 1431655765.33, twice that 2863311530.67."""
    assert integer_weights(np.array([1.0, 2.0]) / 3) == [1431655765, 2863311531]


@pytest.mark.parametrize("shares", [[0.0, 0.0], [-0.1, 1.1], [np.nan, 1.0], [np.inf, 0.0]])
def test_impossible_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="propensities"):
        integer_weights(np.array(shares))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([0.5, 0.5], [0.5, 0.5], False),
        ([0.5, 0.5], [0.5049, 0.4951], False),
        ([0.5, 0.5], [0.505, 0.495], True),
        ([0.1, 0.9], [0.105, 0.895], True),
        ([0.96, 0.04], [0.9561, 0.0439], False),
        ([0.96, 0.04], [0.956, 0.044], True),
        ([0.99, 0.01], [0.989, 0.011], True),
        ([0.99, 0.01], [0.9905, 0.0095], False),
        ([1.0, 0.0], [0.9999, 0.0001], True),
        ([1.0, 0.0], [1.0, 0.0], False),
        ([0.5, 0.5], [0.5, 0.5, 0.0], True),
    ],
)
def test_a_move_is_half_a_point_or_a_tenth_of_a_small_share(
    old: list[float], new: list[float], expected: bool
) -> None:
    assert moved(np.array(old), np.array(new)) is expected
