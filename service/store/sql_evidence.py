"""What is read of the evidence and of the drain's progress, and the recount that checks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import BigInteger, Connection, delete, func, literal_column, select, update

from service.domain.clock import HOUR_MS
from service.domain.evidence import Bucket, BucketKey, added, changes_of
from service.domain.reward import Reward, RewardStatus
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

_BUCKET = [column for column in evidence.columns if column.name != "revision"]
_REWARD = [column for column in rewards.columns if column.name != "serial"]
_ROWS_AT_ONCE = 1_000


def changes(connection: Connection, experiment: int, above_revision: int) -> EvidenceChange:
    """Return the buckets changed above a revision and the newest revision."""
    newest = select(evidence_revisions.c.revision).where(
        evidence_revisions.c.experiment == experiment
    )
    revision = connection.execute(newest).scalar() or 0
    if revision <= above_revision:
        return EvidenceChange(revision, ())
    query = (
        select(*_BUCKET)
        .where(evidence.c.experiment == experiment, evidence.c.revision > above_revision)
        .order_by(evidence.c.segment, evidence.c.variant, evidence.c.hour)
    )
    return EvidenceChange(revision, tuple(map(bucket_of, connection.execute(query))))


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
    revision = evidence_revisions.c.revision
    connection.execute(select(revision).order_by(evidence_revisions.c.experiment).with_for_update())
    connection.execute(update(evidence_revisions).values(revision=revision + jump))


def forget_segment(connection: Connection, segment: str) -> None:
    """Drop the position of a deleted segment."""
    connection.execute(delete(outbox_positions).where(outbox_positions.c.segment == segment))


def recount(connection: Connection, experiment: int) -> list[RecountDifference]:
    """Compare the evidence with what its rows say, in the caller's snapshot."""
    query = select(*_BUCKET).where(evidence.c.experiment == experiment)
    kept = {bucket.key: bucket for bucket in map(bucket_of, connection.execute(query))}
    # Values and conversions depend on the order in which a decision's rewards were committed;
    # the function that made the evidence is the one that knows how.
    recounted = changes_of((), _rewards(connection, experiment), {})
    for bucket in _pulls(connection, experiment):
        known = recounted.get(bucket.key)
        recounted[bucket.key] = bucket if known is None else added(known, bucket)
    return differences(kept, recounted)


def _pulls(connection: Connection, experiment: int) -> Iterator[Bucket]:
    hour = decisions.c.decided_at_ms // HOUR_MS
    query = (
        select(decisions.c.variant, hour, func.count())
        .where(decisions.c.experiment == experiment, decisions.c.counted)
        .group_by(decisions.c.variant, hour)
    )
    for variant, at, count in connection.execute(query):
        yield Bucket(key=BucketKey(experiment, "", variant, at), pulls=count)


def _rewards(connection: Connection, experiment: int) -> Iterator[Reward]:
    query = (
        select(*_REWARD)
        .where(rewards.c.experiment == experiment, rewards.c.status == RewardStatus.accepted)
        .order_by(rewards.c.serial)
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
