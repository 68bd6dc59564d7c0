"""The one transaction that adds rows to the ledger and what is new in them to the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from service.domain.decision import Decision
from service.domain.evidence import Bucket, BucketKey, Standing, added, changes_of
from service.domain.reward import Reward, RewardStatus
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


class AppendStatements(Protocol):
    """The statements of an append, which each database phrases in its fastest way."""

    def lock_revisions(self, connection: Connection, experiments: Sequence[int]) -> dict[int, int]:
        """Lock the experiments in order and return their evidence revisions."""
        ...

    def insert_decisions(
        self, connection: Connection, decisions: Sequence[Decision]
    ) -> dict[bytes, Answer]:
        """Insert what is new, and return what stood there for the keys that were not."""
        ...

    def keep_beside(self, connection: Connection, decisions: Sequence[Decision]) -> int:
        """Insert differing answers unless they are there, and return how many were not."""
        ...

    def rewards_of(self, connection: Connection, keys: Sequence[bytes]) -> Sequence[Row]:
        """Return (key, event, event_id, value_micros, status, converts) of the decisions."""
        ...

    def insert_rewards(self, connection: Connection, rewards: Sequence[Reward]) -> None:
        """Insert rewards, none of which is there, in their order."""
        ...

    def buckets_of(
        self, connection: Connection, keys: Iterable[BucketKey]
    ) -> dict[BucketKey, Bucket]:
        """Return those of the buckets that exist."""
        ...

    def save_evidence(
        self, connection: Connection, buckets: Sequence[Bucket], revisions: Mapping[int, int]
    ) -> None:
        """Write whole buckets and the revisions they belong to."""
        ...

    def save_position(self, connection: Connection, position: OutboxPosition) -> None:
        """Move a segment's position forward, never back."""
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
    experiments = {d.experiment for d in decisions} | {r.experiment for r in rewards}
    # The locks come first and in one order: without them two writers could read the same
    # standing of a decision, or wait for one another.
    revisions = statements.lock_revisions(connection, sorted(experiments)) if experiments else {}
    new_decisions, conflicts = _add_decisions(connection, statements, decisions)
    new_rewards, standings, statuses = _add_rewards(connection, statements, rewards)
    changes = changes_of(new_decisions, new_rewards, standings)
    if changes:
        _add_evidence(connection, statements, changes, revisions)
    if position is not None:
        statements.save_position(connection, position)
    return LedgerOutcome(len(new_decisions), conflicts, tuple(statuses))


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
) -> tuple[list[Decision], int]:
    if not decisions:
        return [], 0
    firsts, differing = split_repeats(decisions)
    stored = statements.insert_decisions(connection, list(firsts.values()))
    if stored:
        # What stood there before is the first row, not the first of this batch.
        known = {key: stored.get(key) or answer_of(first) for key, first in firsts.items()}
        differing = [d for d in decisions if known[d.key] != answer_of(d)]
    conflicts = statements.keep_beside(connection, differing) if differing else 0
    return [d for key, d in firsts.items() if key not in stored], conflicts


def _add_rewards(
    connection: Connection, statements: AppendStatements, rewards: Sequence[Reward]
) -> tuple[list[Reward], dict[bytes, Standing], list[RewardStatus]]:
    if not rewards:
        return [], {}, []
    keys = list({reward.key for reward in rewards})
    seen: set[RewardKey] = set()
    standings: dict[bytes, Standing] = {}
    for key, event, event_id, value_micros, status, converts in statements.rewards_of(
        connection, keys
    ):
        seen.add((key, event, event_id))
        if status == RewardStatus.accepted:
            before = standings.get(key, Standing())
            standings[key] = Standing(
                before.value_micros + value_micros, before.has_converted or bool(converts)
            )
    new, statuses = unseen_rewards(rewards, seen)
    if new:
        statements.insert_rewards(connection, new)
    return new, standings, statuses


def unseen_rewards(
    rewards: Sequence[Reward], seen: set[RewardKey]
) -> tuple[list[Reward], list[RewardStatus]]:
    """Return the rewards that are new, in order, and the status of each of them all."""
    new, statuses = [], []
    for reward in rewards:
        reward_key = (reward.key, reward.event, reward.event_id)
        if reward_key in seen:
            statuses.append(RewardStatus.duplicate)
            continue
        seen.add(reward_key)
        new.append(reward)
        statuses.append(RewardStatus(reward.status))
    return new, statuses


def _add_evidence(
    connection: Connection,
    statements: AppendStatements,
    changes: Mapping[BucketKey, Bucket],
    revisions: Mapping[int, int],
) -> None:
    stored = statements.buckets_of(connection, changes)
    buckets = [
        added(stored[key], change) if key in stored else change for key, change in changes.items()
    ]
    changed = {key.experiment for key in changes}
    moved = {experiment: revisions.get(experiment, 0) + 1 for experiment in changed}
    statements.save_evidence(connection, buckets, moved)
