"""How far the drain is in a segment, and what of a chunk SQL still has to be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.clock import SECOND_MS
from service.domain.decision import Decision
from service.domain.reward import Reward
from service.store.records import Chunk, CommittedReward, OutboxPosition, Record, Witness

BATCH_MAX = 1_000  # Records of one transaction.
# What SQL has already is passed over without a transaction of its own, but not for longer.
AHEAD_MS_MAX = SECOND_MS
WITNESSES_MAX = 500


class Load(NamedTuple):
    """What is given to SQL of a chunk, and the rewards by which SQL shows that it has the rest."""

    decisions: list[Decision]
    rewards: list[Reward]
    witnesses: list[Reward]


def load_of(records: Sequence[Record], *, is_covered: bool, is_mending: bool) -> Load:
    """Sort a chunk's records; `is_covered` when a witness of the first ones was read before.

    Committed rewards whose witness is not at hand are given again, as all are while mending.
    """
    load = Load([], [], [])
    for record in records:
        if isinstance(record, Decision):
            load.decisions.append(record)
        elif is_mending or not isinstance(record, CommittedReward):
            load.rewards.append(record)
        elif isinstance(record, Witness):
            load.witnesses.append(record)
            is_covered = True
        elif not is_covered:
            load.rewards.append(record)
    return load


@dataclass(slots=True)
class Progress:
    """A segment's position in SQL, and what was read beyond it: rewards that SQL has."""

    committed: int
    read: int = 0
    witnesses: list[Reward] = field(default_factory=list)
    ahead_since_ms: int | None = None
    mend_to: int = 0  # SQL lost something before this place.
    batch: int = BATCH_MAX
    is_finished: bool = False

    def __post_init__(self) -> None:
        self.read = self.committed

    @property
    def is_ahead(self) -> bool:
        """Whether something was read that is not committed."""
        return self.read > self.committed

    def is_late(self, now_ms: int) -> bool:
        """Whether what was read ahead has waited long enough."""
        since_ms = self.ahead_since_ms
        return since_ms is not None and now_ms - since_ms >= AHEAD_MS_MAX

    def load(self, chunk: Chunk) -> Load:
        """Sort the records of the chunk that follows."""
        return load_of(
            chunk.records,
            is_covered=bool(self.witnesses),
            is_mending=self.read < self.mend_to,
        )

    def may_wait(self, load: Load, chunk: Chunk, now_ms: int) -> bool:
        """Whether nothing in a chunk needs a transaction now."""
        if load.decisions or load.rewards or chunk.damaged or self.is_late(now_ms):
            return False
        return len(self.witnesses) + len(load.witnesses) <= WITNESSES_MAX

    def wait(self, load: Load, chunk: Chunk, now_ms: int) -> None:
        """Go on behind a chunk that SQL has."""
        self.read = chunk.next_offset
        self.witnesses += load.witnesses
        if self.ahead_since_ms is None:
            self.ahead_since_ms = now_ms

    def position(self, name: str, load: Load, chunk: Chunk) -> OutboxPosition:
        """Return the position to commit with a chunk."""
        witnesses = (*self.witnesses, *load.witnesses)
        return OutboxPosition(name, chunk.next_offset, self.committed, witnesses)

    def commit(self, offset: int) -> None:
        """Note that SQL has everything up to here."""
        self.go_to(offset)
        self.batch = min(BATCH_MAX, 2 * self.batch)

    def go_to(self, offset: int) -> None:
        """Read on from a position that SQL tells."""
        self.committed = self.read = offset
        self.witnesses = []
        self.ahead_since_ms = None
        self.is_finished = False

    def mend(self, offset: int) -> None:
        """Read again from the committed position, and give SQL everything up to a place."""
        self.mend_to = max(self.mend_to, offset)
        self.go_to(self.committed)
