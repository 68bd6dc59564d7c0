"""Evidence: additive buckets of sufficient statistics, and how new ledger rows change them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from msgspec import Struct

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.domain.decision import Decision
from service.domain.reward import Reward

# Upper edges of the first-conversion delay histogram; one more bin takes what is later.
DELAY_EDGES_MS = (
    *(minutes * MINUTE_MS for minutes in (1, 5, 15, 30)),
    *(hours * HOUR_MS for hours in (1, 2, 4, 8, 16)),
    *(days * DAY_MS for days in (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90)),
)

# Nobody appends so often: a revision that moved so far was renewed, by milliseconds since 1970.
RENEWED_REVISIONS_MIN = 2**39

K = TypeVar("K", str, int)


class BucketKey(NamedTuple):
    """What evidence is kept by; `hour` is the decision's, in hours since the Unix epoch."""

    experiment: int
    segment: str
    variant: int
    hour: int


class Bucket(Struct):
    """The statistics of one bucket; values are micro-units, their squares micro-units squared."""

    key: BucketKey
    pulls: int = 0
    conversions: int = 0
    value_micros: int = 0
    value_micros_squared: int = 0
    events: dict[str, int] = {}
    delays: dict[int, int] = {}  # bin of DELAY_EDGES_MS -> first conversions


class Standing(Struct, frozen=True):
    """What the ledger already credits to a decision before a batch."""

    value_micros: int = 0
    has_converted: bool = False


def is_of_another_state(held: int, newest: int) -> bool:
    """Whether SQL went back since an evidence revision was held: it is lower, or was renewed."""
    return not 0 <= newest - held < RENEWED_REVISIONS_MIN


def delay_bin(delay_ms: int) -> int:
    """Return the histogram bin of a delay; clocks that disagree make it 0, never negative."""
    return bisect_right(DELAY_EDGES_MS, max(0, delay_ms))


def bucket_key(row: Decision | Reward) -> BucketKey:
    """Return the bucket a decision or a reward belongs to: the hour is the decision's."""
    return BucketKey(row.experiment, "", row.variant, row.decided_at_ms // HOUR_MS)


def added(base: Bucket, change: Bucket) -> Bucket:
    """Return the sum of two buckets of one key."""
    return Bucket(
        key=base.key,
        pulls=base.pulls + change.pulls,
        conversions=base.conversions + change.conversions,
        value_micros=base.value_micros + change.value_micros,
        value_micros_squared=base.value_micros_squared + change.value_micros_squared,
        events=_sum_counts(base.events, change.events),
        delays=_sum_counts(base.delays, change.delays),
    )


def _sum_counts(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def changes_of(
    decisions: Iterable[Decision],
    rewards: Iterable[Reward],
    standings: Mapping[bytes, Standing],
) -> dict[BucketKey, Bucket]:
    """Return what newly inserted ledger rows add to the evidence.

    `standings` holds the decisions of `rewards` that the ledger credited before this batch; a
    decision converts once, and its squared value is that of its whole sum.
    """
    changes: dict[BucketKey, Bucket] = {}
    for decision in decisions:
        if decision.is_counted:
            _bucket(changes, bucket_key(decision)).pulls += 1
    running = dict(standings)
    for reward in rewards:
        if reward.is_counted:
            bucket = _bucket(changes, bucket_key(reward))
            running[reward.key] = _credit(bucket, reward, running.get(reward.key, Standing()))
    return changes


def _bucket(changes: dict[BucketKey, Bucket], key: BucketKey) -> Bucket:
    bucket = changes.get(key)
    if bucket is None:
        bucket = changes[key] = Bucket(key=key)
    return bucket


def _credit(bucket: Bucket, reward: Reward, before: Standing) -> Standing:
    """Add one reward to its bucket and return its decision's standing afterwards."""
    value = before.value_micros + reward.value_micros
    bucket.value_micros += reward.value_micros
    bucket.value_micros_squared += value**2 - before.value_micros**2
    bucket.events[reward.event] = bucket.events.get(reward.event, 0) + 1
    if reward.converts and not before.has_converted:
        bucket.conversions += 1
        delay = delay_bin(reward.occurred_at_ms - reward.decided_at_ms)
        bucket.delays[delay] = bucket.delays.get(delay, 0) + 1
    return Standing(value, before.has_converted or reward.converts)
