"""Evidence adds up: whatever order and batches rows come in, the buckets say what the rows say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.domain.decision import Source
from service.domain.evidence import (
    DELAY_EDGES_MS,
    Bucket,
    BucketKey,
    Standing,
    added,
    bucket_key,
    changes_of,
    delay_bin,
)
from service.domain.reward import RewardStatus
from tests.sql_stores import START_MS, decision, reward

KEY = BucketKey(7, "", 0, START_MS // HOUR_MS)


def test_delay_edges_grow() -> None:
    assert list(DELAY_EDGES_MS) == sorted(set(DELAY_EDGES_MS))


@pytest.mark.parametrize(
    ("delay_ms", "expected"),
    [
        (-5_000, 0),
        (0, 0),
        (MINUTE_MS - 1, 0),
        (MINUTE_MS, 1),
        (90 * DAY_MS - 1, len(DELAY_EDGES_MS) - 1),
        (90 * DAY_MS, len(DELAY_EDGES_MS)),
        (10**15, len(DELAY_EDGES_MS)),
    ],
)
def test_a_delay_falls_into_the_bin_below_the_edge_it_has_not_reached(
    delay_ms: int, expected: int
) -> None:
    assert delay_bin(delay_ms) == expected


def test_the_hour_of_a_reward_is_its_decisions() -> None:
    late = replace(reward(decision(1)), occurred_at_ms=START_MS + 50 * HOUR_MS)

    assert bucket_key(late) == bucket_key(decision(1)) == KEY


@pytest.mark.parametrize(
    ("source", "pulls"),
    [(Source.policy, 1), (Source.fallback, 1), (Source.forced, 0), (Source.inactive, 0)],
)
def test_only_answers_of_a_running_policy_are_pulls(source: Source, pulls: int) -> None:
    changes = changes_of([replace(decision(1), source=int(source))], [], {})

    assert changes.get(KEY, Bucket(key=KEY)).pulls == pulls


@pytest.mark.parametrize(
    "status", [status for status in RewardStatus if status is not RewardStatus.accepted]
)
def test_only_accepted_rewards_change_evidence(status: RewardStatus) -> None:
    assert changes_of([], [replace(reward(decision(1)), status=int(status))], {}) == {}


def test_a_decision_converts_once_and_keeps_its_first_delay() -> None:
    first, second = reward(decision(1)), reward(decision(1), event="purchase")

    changes = changes_of([], [first, replace(second, occurred_at_ms=START_MS + DAY_MS)], {})

    assert changes[KEY].conversions == 1
    assert changes[KEY].delays == {delay_bin(90_000): 1}
    assert changes[KEY].events == {"conversion": 1, "purchase": 1}


def test_a_decision_that_stands_converted_does_not_convert_again() -> None:
    sent = reward(decision(1), micros=3)

    changes = changes_of([], [sent], {sent.key: Standing(4, has_converted=True)})

    assert (changes[KEY].conversions, changes[KEY].delays) == (0, {})
    assert changes[KEY].value_micros == 3
    assert changes[KEY].value_micros_squared == 7**2 - 4**2


def test_an_event_that_does_not_convert_leaves_the_conversion_to_the_next() -> None:
    sent = decision(1)
    unsubscribe = replace(reward(sent, event="unsubscribe"), converts=False)

    changes = changes_of([], [unsubscribe, reward(sent)], {})

    assert changes[KEY].conversions == 1


def test_standings_given_are_left_as_they_are() -> None:
    sent = reward(decision(1))
    standings: dict[bytes, Standing] = {}

    changes_of([], [sent], standings)

    assert standings == {}


def test_buckets_of_different_rows_share_no_dictionary() -> None:
    one, other = Bucket(key=KEY), Bucket(key=KEY)
    one.events["visit"] = 1

    assert other.events == {}
    assert one.events is not added(one, other).events


COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)
DELAYS = st.dictionaries(st.integers(0, 5), st.integers(0, 9), max_size=3)
BUCKETS = st.builds(
    Bucket,
    key=st.just(KEY),
    pulls=st.integers(0, 10**9),
    conversions=st.integers(0, 10**9),
    value_micros=st.integers(-(10**18), 10**18),
    value_micros_squared=st.integers(0, 10**36),
    events=COUNTS,
    delays=DELAYS,
)


@given(a=BUCKETS, b=BUCKETS, c=BUCKETS)
def test_buckets_add_up_in_any_order(a: Bucket, b: Bucket, c: Bucket) -> None:
    assert added(a, b) == added(b, a)
    assert added(added(a, b), c) == added(a, added(b, c))


@given(
    values=st.lists(st.tuples(st.integers(0, 2), st.integers(-100, 100)), max_size=12),
    cut=st.integers(0, 12),
)
def test_squares_are_those_of_each_decisions_whole_value(
    values: list[tuple[int, int]], cut: int
) -> None:
    rewards = [
        replace(reward(decision(unit), micros=micros), event_id=str(place))
        for place, (unit, micros) in enumerate(values)
    ]
    totals = [sum(m for u, m in values if u == unit) for unit in range(3)]

    before = changes_of([], rewards[:cut], {})
    standings = {
        decision(unit).key: Standing(sum(m for u, m in values[:cut] if u == unit), True)
        for unit in range(3)
        if any(u == unit for u, _ in values[:cut])
    }
    after = changes_of([], rewards[cut:], standings)
    whole = added(before.get(KEY, Bucket(key=KEY)), after.get(KEY, Bucket(key=KEY)))

    assert whole.value_micros == sum(totals)
    assert whole.value_micros_squared == sum(total**2 for total in totals)
    assert whole.conversions == len({unit for unit, _ in values})
