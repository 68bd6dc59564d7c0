"""How records lie in SQL rows: the one place where the order of columns is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from service.domain.decision import Decision
from service.domain.evidence import Bucket, BucketKey
from service.domain.reward import Reward
from service.domain.split import SplitKey

Row = Sequence[Any]

DECISION_COLUMNS = (
    "key, tenant, experiment, variant, propensity, source, holdout, counted, version, key_id,"
    " decided_at_ms, unit, occasion, context, eligible"
)
REWARD_COLUMNS = (
    "key, event, event_id, tenant, experiment, variant, decided_at_ms, value_micros, status,"
    " converts, occurred_at_ms, received_at_ms"
)
EVIDENCE_COLUMNS = (
    "experiment, segment, variant, hour, pulls, conversions, value_micros, value_micros_squared,"
    " events, delays, revision"
)
PULLS_COLUMNS = "experiment, hour, version, eligible, variant, pulls, revision"
PULLS_ADDED = (
    " ON CONFLICT (experiment, hour, version, eligible, variant) DO UPDATE"
    " SET pulls = version_pulls.pulls + excluded.pulls, revision = excluded.revision"
)
BUCKET_COLUMNS = EVIDENCE_COLUMNS.removesuffix(", revision")

_encoder = msgspec.json.Encoder()
_eligible_decoder = msgspec.json.Decoder(tuple[int, ...])
_events_decoder = msgspec.json.Decoder(dict[str, int])
_delays_decoder = msgspec.json.Decoder(dict[int, int])


def json_text(value: object) -> str:
    """Return a value as JSON text, which both databases take as one parameter."""
    return _encoder.encode(value).decode()


def qualified(columns: str, table: str) -> str:
    """Return a list of columns, each with the name of its table."""
    return ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))


def decision_values(decision: Decision) -> tuple[Any, ...]:
    """Return a decision in the order of `DECISION_COLUMNS`."""
    context = decision.context
    return (
        decision.key,
        decision.tenant,
        decision.experiment,
        decision.variant,
        decision.propensity,
        decision.source,
        decision.holdout,
        decision.is_counted,
        decision.version,
        decision.key_id,
        decision.decided_at_ms,
        decision.unit,
        decision.occasion,
        None if context is None else context.decode(),
        None if decision.eligible is None else json_text(decision.eligible),
    )


def decision_of(row: Row) -> Decision:
    """Return the decision of a row of `DECISION_COLUMNS`."""
    context = row[13]
    return Decision(
        key=bytes(row[0]),
        tenant=row[1],
        experiment=row[2],
        variant=row[3],
        propensity=row[4],
        source=row[5],
        holdout=bool(row[6]),
        version=row[8],
        key_id=row[9],
        decided_at_ms=row[10],
        unit=row[11],
        occasion=row[12],
        context=None if context is None else context.encode(),
        eligible=None if row[14] is None else _eligible_decoder.decode(row[14]),
    )


def reward_values(reward: Reward) -> tuple[Any, ...]:
    """Return a reward in the order of `REWARD_COLUMNS`."""
    return msgspec.structs.astuple(reward)


def reward_of(row: Row) -> Reward:
    """Return the reward of a row of `REWARD_COLUMNS`."""
    return Reward(
        key=bytes(row[0]),
        event=row[1],
        event_id=row[2],
        tenant=row[3],
        experiment=row[4],
        variant=row[5],
        decided_at_ms=row[6],
        value_micros=row[7],
        status=row[8],
        converts=bool(row[9]),
        occurred_at_ms=row[10],
        received_at_ms=row[11],
    )


def evidence_values(bucket: Bucket, revision: int) -> tuple[Any, ...]:
    """Return a bucket in the order of `EVIDENCE_COLUMNS`; exact integers travel as text."""
    return (
        *bucket.key,
        bucket.pulls,
        bucket.conversions,
        str(bucket.value_micros),
        str(bucket.value_micros_squared),
        json_text(bucket.events),
        json_text(bucket.delays),
        revision,
    )


def bucket_of(row: Row) -> Bucket:
    """Return the bucket of a row of `BUCKET_COLUMNS`."""
    return Bucket(
        key=BucketKey(row[0], row[1], row[2], row[3]),
        pulls=row[4],
        conversions=row[5],
        value_micros=int(row[6]),
        value_micros_squared=int(row[7]),
        events=_events_decoder.decode(row[8]),
        delays=_delays_decoder.decode(row[9]),
    )


def pulls_values(pulls: Mapping[SplitKey, int], revisions: Mapping[int, int]) -> list[Row]:
    """Return what is added to pulls as rows of `PULLS_COLUMNS`."""
    return [(*key, count, revisions[key.experiment]) for key, count in pulls.items()]


def buckets_by_key(rows: Iterable[Row]) -> dict[BucketKey, Bucket]:
    """Return the buckets of rows of `BUCKET_COLUMNS` by their keys."""
    return {bucket.key: bucket for bucket in map(bucket_of, rows)}
