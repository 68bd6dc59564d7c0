"""The ledger in memory: the reference that the SQL ones are compared with, and for fast tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.domain.clock import Clock
from service.domain.decision import UNCONFIRMED_SOURCES, Decision
from service.domain.evidence import Bucket, BucketKey, Standing, added, changes_of
from service.domain.reward import Reward, RewardStatus
from service.domain.split import SplitChange, SplitKey, split_pulls
from service.store.records import (
    Cursor,
    EvidenceChange,
    LedgerOutcome,
    LedgerRow,
    OutboxPosition,
    RecountDifference,
)
from service.store.sql_append import answer_of, refuse_what_went_back, unseen_rewards
from service.store.sql_checks import refuse_poison
from service.store.sql_evidence import differences, split_differences
from service.store.sql_export import Kept, attributed, cursor_of


class MemoryLedger:
    """See `service.store.ports.Ledger`; nothing here awaits, so every append is a transaction."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Without a clock, time stands still for its positions."""
        self._now_ms: Callable[[], int] = int if clock is None else clock.now_ms
        self._moved_at_ms: dict[str, int] = {}
        self._firsts: dict[bytes, Decision] = {}
        self._besides: list[Decision] = []
        self._rewards: list[Reward] = []
        self._buckets: dict[BucketKey, Bucket] = {}
        self._changed_at: dict[BucketKey, int] = {}
        self._split: dict[SplitKey, tuple[int, int]] = {}  # Pulls, and the revision they are of.
        self._revisions: dict[int, int] = {}
        self._positions: dict[str, int] = {}

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Insert what is new, in one step with evidence and outbox position."""
        refuse_poison(decisions, rewards)
        if position is not None:
            stored = self._positions.get(position.segment, 0)
            refuse_what_went_back(position, stored, self._rows_of(position.witnesses))
        new, besides = self._sorted_out(decisions)
        standings = self._standings({reward.key for reward in rewards})
        seen = {(r.key, r.event, r.event_id): r.status for r in self._rewards}
        new_rewards, statuses, late = unseen_rewards(rewards, seen)
        self._besides += besides
        self._rewards += new_rewards
        self._count(changes_of(new, new_rewards, standings))
        for key, pulls in split_pulls(new).items():
            counted, _ = self._split.get(key, (0, 0))
            self._split[key] = (counted + pulls, self._revisions[key.experiment])
        if position is not None:
            before = self._positions.get(position.segment)
            if before is None or position.offset > before:
                self._positions[position.segment] = position.offset
                self._moved_at_ms[position.segment] = self._now_ms()
        differing = {d.key for d in decisions if answer_of(self._firsts[d.key]) != answer_of(d)}
        return LedgerOutcome(len(new), len(besides), tuple(statuses), frozenset(differing), late)

    def _rows_of(self, wanted: Sequence[Reward]) -> list[tuple[object, ...]]:
        keys = {reward.key for reward in wanted}
        return [
            (r.key, r.event, r.event_id, r.value_micros, r.status, r.converts, r.received_at_ms)
            for r in self._rewards
            if r.key in keys
        ]

    def _sorted_out(self, decisions: Sequence[Decision]) -> tuple[list[Decision], list[Decision]]:
        """Keep first decisions; return them, and the answers that differ from theirs."""
        new: list[Decision] = []
        besides: list[Decision] = []
        known = {(decision.key, answer_of(decision)) for decision in self._besides}
        for decision in decisions:
            if decision.key not in self._firsts:
                self._firsts[decision.key] = decision
                new.append(decision)
            first = self._firsts[decision.key]
            answer = (decision.key, answer_of(decision))
            if answer_of(first) != answer[1] and answer not in known:
                known.add(answer)
                besides.append(decision)
        return new, besides

    def _standings(self, keys: set[bytes]) -> dict[bytes, Standing]:
        standings: dict[bytes, Standing] = {}
        for reward in self._rewards:
            if reward.key in keys and reward.status == RewardStatus.accepted:
                before = standings.get(reward.key, Standing())
                standings[reward.key] = Standing(
                    before.value_micros + reward.value_micros,
                    before.has_converted or reward.converts,
                )
        return standings

    def _count(self, changes: dict[BucketKey, Bucket]) -> None:
        for experiment in {key.experiment for key in changes}:
            self._revisions[experiment] = self._revisions.get(experiment, 0) + 1
        for key, change in changes.items():
            self._buckets[key] = added(self._buckets.get(key, Bucket(key=key)), change)
            self._changed_at[key] = self._revisions[key.experiment]

    async def evidence(self, experiment: int, above_revision: int = 0) -> EvidenceChange:
        """Return the buckets changed above a revision and the newest revision."""
        keys = sorted(
            key
            for key, revision in self._changed_at.items()
            if key.experiment == experiment and revision > above_revision
        )
        copies = tuple(added(self._buckets[key], Bucket(key=key)) for key in keys)
        return EvidenceChange(self._revisions.get(experiment, 0), copies)

    def split_changes(self, experiment: int, above_revision: int) -> SplitChange:
        """Return the counts by allocation changed above a revision and the newest revision."""
        pulls = {
            key: pulls
            for key, (pulls, revision) in sorted(self._split.items())
            if key.experiment == experiment and revision > above_revision
        }
        return SplitChange(self._revisions.get(experiment, 0), pulls)

    async def evidence_revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        return dict(self._revisions)

    async def recount(self, experiment: int) -> list[RecountDifference]:
        """Recount the evidence from the rows; an empty list means equal."""
        kept = {key: b for key, b in self._buckets.items() if key.experiment == experiment}
        decisions = [d for d in self._firsts.values() if d.experiment == experiment]
        rewards = (reward for reward in self._rewards if reward.experiment == experiment)
        standing = self.split_changes(experiment, -1).pulls
        return differences(kept, changes_of(decisions, rewards, {})) + split_differences(
            standing, split_pulls(decisions)
        )

    async def rows(
        self, experiment: int, after: Cursor | None, count: int
    ) -> tuple[list[LedgerRow], Cursor | None]:
        """Return decisions in order of time with their rewards, and where to go on."""
        kept: list[Kept] = [(0, first) for first in self._firsts.values()]
        kept += enumerate(self._besides, start=1)
        places = {_place(row): row for row in kept if row[1].experiment == experiment}
        start = () if after is None else (after.decided_at_ms, after.key, after.serial)
        found = [places[place] for place in sorted(places) if place > start]
        credited = attributed(kept, self._rewards)
        page = [
            LedgerRow(
                decision=decision,
                counted=decision.is_counted and serial == 0,
                rewards=tuple(credited.get((decision.key, serial), ())),
            )
            for serial, decision in found[:count]
        ]
        return page, cursor_of(found[count - 1]) if len(found) > count and page else None

    async def recent_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions of all experiments, newest first."""
        recent = [d for d in self._firsts.values() if d.decided_at_ms >= since_ms]
        recent.sort(key=lambda decision: (decision.decided_at_ms, decision.key), reverse=True)
        if before is not None:
            end = (before.decided_at_ms, before.key)
            recent = [d for d in recent if (d.decided_at_ms, d.key) < end]
        page = recent[:count]
        return page, cursor_of((0, page[-1])) if len(recent) > count and page else None

    async def unconfirmed_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions that Redis may not know, newest first."""
        recent, _ = await self.recent_decisions(since_ms, before, len(self._firsts))
        found = [decision for decision in recent if decision.source in UNCONFIRMED_SOURCES]
        page = found[:count]
        return page, cursor_of((0, page[-1])) if len(found) > count and page else None

    async def position(self, segment: str) -> int:
        """Return how far a segment is committed; 0 for an unknown one."""
        return self._positions.get(segment, 0)

    async def positions(self, segments: Sequence[str]) -> dict[str, int]:
        """Return how far segments are committed; unknown ones are left out."""
        return {name: self._positions[name] for name in segments if name in self._positions}

    async def settled_positions(self, segments: Sequence[str], pause_ms: int) -> dict[str, int]:
        """Return the positions that have not moved for so long."""
        until_ms = self._now_ms() - pause_ms
        found = await self.positions(segments)
        return {name: at for name, at in found.items() if self._moved_at_ms[name] <= until_ms}

    async def first_decisions(self, keys: Sequence[bytes]) -> list[Decision]:
        """Return the first-committed decisions of keys; unknown ones are left out."""
        return [self._firsts[key] for key in set(keys) if key in self._firsts]

    async def named_version(self, experiment: int) -> int:
        """Return the highest version that an experiment's latest decisions name, or 0."""
        named = [d.version for d in self._firsts.values() if d.experiment == experiment]
        return max(named, default=0)

    async def renew_revisions(self, jump: int, experiments: Sequence[int]) -> None:
        """Add a number to the evidence revision of every experiment, and of the given ones."""
        self._revisions = {**dict.fromkeys(experiments, 0), **self._revisions}
        self._revisions = {number: r + jump for number, r in self._revisions.items()}

    async def forget_segment(self, segment: str) -> None:
        """Drop the position of a deleted segment."""
        self._positions.pop(segment, None)

    def rewrite_decisions(self, change: Callable[[Decision], Decision]) -> None:
        """Replace decisions, as erasures do; keys and what is counted stay."""
        self._firsts = {key: change(first) for key, first in self._firsts.items()}
        self._besides = [change(beside) for beside in self._besides]

    def rewrite_rewards(self, change: Callable[[Reward], Reward]) -> None:
        """Replace rewards, as erasures do."""
        self._rewards = [change(reward) for reward in self._rewards]

    def recorded_rewards(self) -> list[Reward]:
        """Return all rewards in the order in which they were recorded."""
        return list(self._rewards)

    def committed_segments(self) -> set[str]:
        """Return the segments that have a position."""
        return set(self._positions)

    async def is_reachable(self) -> bool:
        """Memory always answers."""
        return True


def _place(kept: Kept) -> tuple[int, bytes, int]:
    serial, decision = kept
    return decision.decided_at_ms, decision.key, serial
