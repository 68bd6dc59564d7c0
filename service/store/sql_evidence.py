"""What is read of the evidence and of the drain's progress, and the recount that checks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, delete, func, literal_column, select, update

from service.domain.clock import HOUR_MS
from service.domain.evidence import Bucket, BucketKey, added, changes_of
from service.domain.reward import Reward, RewardStatus
from service.domain.split import EVERY_VARIANT, SplitKey
from service.store.records import EvidenceChange, RecountDifference
from service.store.sql_rows import bucket_of, reward_of
from service.store.sql_statements import NOW_MS, insert_or_ignore
from service.store.sql_tables import (
    decisions,
    evidence,
    evidence_revisions,
    outbox_positions,
    rewards,
)
from service.store.sql_tables_split import version_pulls

_BUCKET = [column for column in evidence.columns if column.name != "revision"]
_REWARD = [column for column in rewards.columns if column.name != "serial"]
_ROWS_AT_ONCE = 1_000


def changes(connection: Connection, experiment: int, above_revision: int) -> EvidenceChange:
    """Return the buckets changed above a revision and the newest revision."""
    newest = revision(connection, experiment)
    if newest <= above_revision:
        return EvidenceChange(newest, ())
    query = (
        select(*_BUCKET)
        .where(evidence.c.experiment == experiment, evidence.c.revision > above_revision)
        .order_by(evidence.c.segment, evidence.c.variant, evidence.c.hour)
    )
    return EvidenceChange(newest, tuple(map(bucket_of, connection.execute(query))))


def revision(connection: Connection, experiment: int) -> int:
    """Return the newest evidence revision of an experiment; 0 when it has none."""
    query = select(evidence_revisions.c.revision).where(
        evidence_revisions.c.experiment == experiment
    )
    return connection.execute(query).scalar() or 0


def revisions(connection: Connection) -> dict[int, int]:
    """Return the newest evidence revision of every experiment that has evidence."""
    query = select(evidence_revisions.c.experiment, evidence_revisions.c.revision).where(
        evidence_revisions.c.revision > 0
    )
    return {row.experiment: row.revision for row in connection.execute(query)}


def position(connection: Connection, segment: str) -> int:
    """Return how far a segment is committed; 0 for an unknown one."""
    query = select(outbox_positions.c.position).where(outbox_positions.c.segment == segment)
    return connection.execute(query).scalar() or 0


def positions(connection: Connection, segments: Sequence[str]) -> dict[str, int]:
    """Return how far segments are committed; unknown ones are left out."""
    query = select(outbox_positions.c.segment, outbox_positions.c.position).where(
        outbox_positions.c.segment.in_(segments)
    )
    return {row.segment: row.position for row in connection.execute(query)}


def settled_positions(
    connection: Connection, segments: Sequence[str], pause_ms: int
) -> dict[str, int]:
    """Return the positions that have not moved for so long, by the database's clock."""
    table = outbox_positions.c
    is_settled = (
        table.at_ms <= literal_column(NOW_MS[connection.dialect.name], BigInteger) - pause_ms
    )
    query = select(table.segment, table.position).where(table.segment.in_(segments), is_settled)
    return {row.segment: row.position for row in connection.execute(query)}


def renew_revisions(connection: Connection, jump: int, experiments: Sequence[int]) -> None:
    """Add a number to every revision, after locking them in the order that appends do."""
    rows = [{"experiment": number, "revision": 0} for number in sorted(experiments)]
    if rows:
        connection.execute(insert_or_ignore(connection, evidence_revisions).values(rows))
    column = evidence_revisions.c.revision
    connection.execute(select(column).order_by(evidence_revisions.c.experiment).with_for_update())
    connection.execute(update(evidence_revisions).values(revision=column + jump))


def forget_segment(connection: Connection, segment: str) -> None:
    """Drop the position of a deleted segment."""
    connection.execute(delete(outbox_positions).where(outbox_positions.c.segment == segment))


def recount(connection: Connection, experiment: int) -> list[RecountDifference]:
    """Compare the evidence with what its rows say, in the caller's snapshot."""
    query = select(*_BUCKET).where(evidence.c.experiment == experiment)
    kept = {bucket.key: bucket for bucket in map(bucket_of, connection.execute(query))}
    recounted: dict[BucketKey, Bucket] = {}
    # Values and conversions depend on the order in which a decision's rewards were committed;
    # the function that made the evidence is the one that knows how.
    for some in _by_decision(_rewards(connection, experiment)):
        for change in changes_of((), some, {}).values():
            _add(recounted, change)
    splits: list[RecountDifference] = []
    # An hour at a time: there may be tens of thousands of allocations in each.
    by_hour = merge(
        _pulls(connection, experiment), _standing_pulls(connection, experiment), key=_hour
    )
    for _, hour in groupby(by_hour, _hour):
        standing: dict[SplitKey, int] = {}
        pulls: dict[SplitKey, int] = {}
        for count in hour:
            if count.stands:
                standing[count.key] = count.pulls
                continue
            if not count.holdout:
                pulls[count.key] = count.pulls
            key = BucketKey(experiment, "", count.key.variant, count.key.hour)
            _add(recounted, Bucket(key=key, pulls=count.pulls))
        splits += split_differences(standing, pulls)
    return differences(kept, recounted) + splits


def _add(buckets: dict[BucketKey, Bucket], change: Bucket) -> None:
    known = buckets.get(change.key)
    buckets[change.key] = change if known is None else added(known, change)


class _Count(NamedTuple):
    """Decisions of one hour, variant and allocation: as they stand beside the evidence, or not."""

    key: SplitKey
    pulls: int
    holdout: bool = False
    stands: bool = False


def _hour(count: _Count) -> int:
    return count.key.hour


def _pulls(connection: Connection, experiment: int) -> Iterator[_Count]:
    """Count the decisions once for both: evidence, and how each allocation's traffic was split.

    They come in order of hour, as do the standing ones.
    """
    table = decisions.c
    eligible = func.coalesce(table.eligible, EVERY_VARIANT)
    by = (table.decided_at_ms // HOUR_MS, table.version, eligible, table.variant, table.holdout)
    query = (
        select(*by, func.count())
        .where(table.experiment == experiment, table.counted)
        .group_by(*by)
        .order_by(by[0])
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for *key, holdout, count in connection.execute(query):
        yield _Count(SplitKey(experiment, *key), count, holdout)


def _standing_pulls(connection: Connection, experiment: int) -> Iterator[_Count]:
    columns = [version_pulls.c[name] for name in SplitKey._fields]
    query = (
        select(*columns, version_pulls.c.pulls)
        .where(version_pulls.c.experiment == experiment)
        .order_by(version_pulls.c.hour)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for *key, pulls in connection.execute(query):
        yield _Count(SplitKey(*key), pulls, stands=True)


def _by_decision(rewards: Iterable[Reward]) -> Iterator[list[Reward]]:
    """Yield rewards some thousand at a time, all of a decision together."""
    some: list[Reward] = []
    for _, of_decision in groupby(rewards, attrgetter("key")):
        some += of_decision
        if len(some) >= _ROWS_AT_ONCE:
            yield some
            some = []
    yield some


def _rewards(connection: Connection, experiment: int) -> Iterator[Reward]:
    """Return what counts, decision by decision, in order of commit.

    The database sorts, on disk where it must: nothing is held here of millions of decisions.
    """
    query = (
        select(*_REWARD)
        .where(rewards.c.experiment == experiment, rewards.c.status == RewardStatus.accepted)
        .order_by(rewards.c.key, rewards.c.serial)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    return map(reward_of, connection.execute(query))


def differences(
    kept: dict[BucketKey, Bucket], recounted: dict[BucketKey, Bucket]
) -> list[RecountDifference]:
    """Return every measure that is not the same on both sides, in order of bucket."""
    found = []
    for key in sorted({*kept, *recounted}):
        one = _measures(kept.get(key, Bucket(key=key)))
        other = _measures(recounted.get(key, Bucket(key=key)))
        found += [
            RecountDifference(key.variant, key.hour, name, one.get(name, 0), other.get(name, 0))
            for name in sorted({*one, *other})
            if one.get(name, 0) != other.get(name, 0)
        ]
    return found


def split_differences(
    kept: Mapping[SplitKey, int], recounted: Mapping[SplitKey, int]
) -> list[RecountDifference]:
    """Return every count by allocation that is not the same on both sides, in order of key."""
    return [
        RecountDifference(
            key.variant,
            key.hour,
            f"pulls.{key.version}{key.eligible}",
            kept.get(key, 0),
            recounted.get(key, 0),
        )
        for key in sorted({*kept, *recounted})
        if kept.get(key, 0) != recounted.get(key, 0)
    ]


def _measures(bucket: Bucket) -> dict[str, int]:
    """Return what a bucket holds, flat."""
    return {
        "pulls": bucket.pulls,
        "conversions": bucket.conversions,
        "value_micros": bucket.value_micros,
        "value_micros_squared": bucket.value_micros_squared,
        **{f"events.{event}": count for event, count in bucket.events.items()},
        **{f"delays.{index}": count for index, count in bucket.delays.items()},
    }
