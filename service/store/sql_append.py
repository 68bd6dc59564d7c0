"""The one transaction that adds rows to the ledger and what is new in them to the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from service.domain.decision import Decision
from service.domain.evidence import Bucket, BucketKey, Standing, added, bucket_key, changes_of
from service.domain.reward import Reward, RewardStatus
from service.domain.split import SplitKey, split_pulls
from service.errors import LedgerWentBackError, PositionMovedError
from service.store.records import LedgerOutcome, OutboxPosition
from service.store.sql_rows import Row

RewardKey = tuple[bytes, str, str]


class Answer(NamedTuple):
    """What two answers for one decision key must share to be the same answer."""

    variant: int
    version: int
    decided_at_ms: int


class UnlockableError(Exception):
    """Experiments have no revision row yet; it must be committed before it can be locked."""

    def __init__(self, experiments: Sequence[int]) -> None:
        super().__init__(experiments)
        self.experiments = experiments


class Opening(NamedTuple):
    """What an append has to know, read under the experiments' locks.

    `rewards` are rows of (key, event, event_id, value_micros, status, converts, received_at_ms).
    """

    revisions: Mapping[int, int]
    rewards: Sequence[Row]
    buckets: Mapping[BucketKey, Bucket]
    position: int = 0


class Wanted(NamedTuple):
    """What an append asks for at its opening; no segment when its position does not matter."""

    experiments: Sequence[int]
    keys: Sequence[bytes]
    buckets: Sequence[BucketKey]
    segment: str | None


class Additions(NamedTuple):
    """What an append writes when it knows what is new; buckets come whole, pulls are added."""

    rewards: Sequence[Reward]
    buckets: Sequence[Bucket]
    pulls: Mapping[SplitKey, int]
    revisions: Mapping[int, int]
    position: OutboxPosition | None


class AppendStatements(Protocol):
    """The statements of an append, which each database phrases in its fastest way."""

    def open(self, connection: Connection, wanted: Wanted) -> Opening:
        """Lock the experiments in order, then read what is known of decisions and buckets.

        The position comes last: what was seen before it was there before anybody moved it.
        """
        ...

    def insert_decisions(
        self, connection: Connection, decisions: Sequence[Decision]
    ) -> dict[bytes, Answer]:
        """Insert what is new, and return what stood there for the keys that were not."""
        ...

    def keep_beside(self, connection: Connection, decisions: Sequence[Decision]) -> int:
        """Insert differing answers unless they are there, and return how many were not."""
        ...

    def save(self, connection: Connection, additions: Additions) -> None:
        """Insert new rewards in their order, write what was counted, move the position.

        A position never moves back.
        """
        ...


def answer_of(decision: Decision) -> Answer:
    """Return what a repeated decision must equal."""
    return Answer(decision.variant, decision.version, decision.decided_at_ms)


def append(
    connection: Connection,
    statements: AppendStatements,
    records: tuple[Sequence[Decision], Sequence[Reward]],
    position: OutboxPosition | None,
) -> LedgerOutcome:
    """Add records to the ledger; the caller's transaction makes it all or nothing."""
    decisions, rewards = records
    opening = _opening(connection, statements, records, position)
    if position is not None:
        refuse_what_went_back(position, opening.position, opening.rewards)
    new_decisions, conflicts, differing = _add_decisions(connection, statements, decisions)
    new_rewards, standings, statuses, late = _sorted_out(rewards, opening.rewards)
    changes = changes_of(new_decisions, new_rewards, standings)
    buckets = [
        added(opening.buckets[key], change) if key in opening.buckets else change
        for key, change in changes.items()
    ]
    moved = {key.experiment: opening.revisions.get(key.experiment, 0) + 1 for key in changes}
    if new_rewards or buckets or position is not None:
        pulls = split_pulls(new_decisions)
        statements.save(connection, Additions(new_rewards, buckets, pulls, moved, position))
    return LedgerOutcome(len(new_decisions), conflicts, tuple(statuses), differing, late)


def refuse_what_went_back(position: OutboxPosition, stored: int, rewards: Sequence[Row]) -> None:
    """Raise unless the ledger is in the state that an append goes on from.

    Both are told apart in the transaction itself: a ledger may go back at any time before it.
    """
    if position.start not in (None, stored):
        raise PositionMovedError(f"the outbox is committed to {stored}, not to {position.start}")
    if not position.witnesses:
        return
    standing = {(bytes(key), event, event_id, at) for key, event, event_id, _, _, _, at in rewards}
    for w in position.witnesses:
        if (w.key, w.event, w.event_id, w.received_at_ms) not in standing:
            raise LedgerWentBackError("a committed reward is not in the ledger any more")


def _opening(
    connection: Connection,
    statements: AppendStatements,
    records: tuple[Sequence[Decision], Sequence[Reward]],
    position: OutboxPosition | None,
) -> Opening:
    """Lock first, and in one order: else two writers could read the same standing of a decision.

    Or wait for one another.
    """
    decisions, rewards = records
    buckets = {bucket_key(d) for d in decisions} | {bucket_key(r) for r in rewards}
    keys = {reward.key for reward in rewards}
    segment = None
    if position is not None and position.start is not None:
        segment = position.segment
        keys.update(witness.key for witness in position.witnesses)
    if not buckets and segment is None:
        return Opening({}, (), {})
    experiments = sorted({key.experiment for key in buckets})
    return statements.open(connection, Wanted(experiments, list(keys), sorted(buckets), segment))


def split_repeats(decisions: Sequence[Decision]) -> tuple[dict[bytes, Decision], list[Decision]]:
    """Return the first decision of every key, and those that differ from it."""
    firsts: dict[bytes, Decision] = {}
    differing = []
    for decision in decisions:
        first = firsts.setdefault(decision.key, decision)
        if first is not decision and answer_of(first) != answer_of(decision):
            differing.append(decision)
    return firsts, differing


def _add_decisions(
    connection: Connection, statements: AppendStatements, decisions: Sequence[Decision]
) -> tuple[list[Decision], int, frozenset[bytes]]:
    """Return the new decisions, how many others were kept beside, and the keys that differ."""
    if not decisions:
        return [], 0, frozenset()
    firsts, differing = split_repeats(decisions)
    stored = statements.insert_decisions(connection, list(firsts.values()))
    if stored:
        # What stood there before is the first row, not the first of this batch.
        known = {key: stored.get(key) or answer_of(first) for key, first in firsts.items()}
        differing = [d for d in decisions if known[d.key] != answer_of(d)]
    conflicts = statements.keep_beside(connection, differing) if differing else 0
    new = [d for key, d in firsts.items() if key not in stored]
    return new, conflicts, frozenset(decision.key for decision in differing)


def _sorted_out(
    rewards: Sequence[Reward], known: Sequence[Row]
) -> tuple[list[Reward], dict[bytes, Standing], list[RewardStatus], frozenset[RewardKey]]:
    """Return what `unseen_rewards` does, and what the decisions had before."""
    seen: dict[RewardKey, int] = {}
    standings: dict[bytes, Standing] = {}
    for key, event, event_id, value_micros, status, converts, _ in known:
        seen[key, event, event_id] = status
        if status == RewardStatus.accepted:
            before = standings.get(key, Standing())
            standings[key] = Standing(
                before.value_micros + value_micros, before.has_converted or bool(converts)
            )
    new, statuses, late = unseen_rewards(rewards, seen)
    return new, standings, statuses, late


def unseen_rewards(
    rewards: Sequence[Reward], seen: dict[RewardKey, int]
) -> tuple[list[Reward], list[RewardStatus], frozenset[RewardKey]]:
    """Return the rewards that are new, in order, the status of each, and the late duplicates."""
    new, statuses, late = [], [], set()
    for reward in rewards:
        reward_key = (reward.key, reward.event, reward.event_id)
        if reward_key in seen:
            statuses.append(RewardStatus.duplicate)
            if seen[reward_key] == RewardStatus.late:
                late.add(reward_key)
            continue
        seen[reward_key] = reward.status
        new.append(reward)
        statuses.append(RewardStatus(reward.status))
    return new, statuses, frozenset(late)
