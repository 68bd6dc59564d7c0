"""The in-memory reference of what Redis holds and of the outbox, for tests and for reading."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import astuple

from service.domain.allocation import Publication
from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.decision import Decision, replay_of
from service.domain.experiment import Experiment
from service.errors import OutboxUnavailableError, RedisUnavailableError
from service.store.records import Changes, Chunk, CommittedReward, Record, Segment, Witness


class MemoryReplays:
    """Remembers answers for two generations of 24 hours; `is_down` plays a lost server."""

    def __init__(self) -> None:
        self.generations: dict[int, dict[bytes, bytes]] = {}
        self.is_down = False

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Remember each answer unless its key has one; return the earlier answers."""
        self._check()
        if deadline_ms is not None and deadline_ms <= 0.0:
            raise RedisUnavailableError("the deadline has passed")
        now = now_ms // DAY_MS
        newest = self.generations.setdefault(now, {})
        ahead = (now_ms + HOUR_MS) // DAY_MS  # By the clock furthest ahead.
        others = [self.generations.get(g, {}) for g in range(now - 1, ahead + 1) if g != now]
        self.generations = {g: d for g, d in self.generations.items() if g >= now - 1}
        return [
            _remembered(newest, others, key, value) for key, value in zip(keys, values, strict=True)
        ]

    async def restore(self, decisions: Sequence[Decision]) -> None:
        """Write what the ledger says of these decisions, over whatever is remembered."""
        self._check()
        for decision in decisions:
            generation = decision.decided_at_ms // DAY_MS
            self.generations.setdefault(generation, {})[decision.key] = replay_of(decision)
            for other in (generation - 1, generation + 1):
                self.generations.get(other, {}).pop(decision.key, None)

    def _check(self) -> None:
        if self.is_down:
            raise RedisUnavailableError("the replay memory is down")


def _remembered(
    newest: dict[bytes, bytes], others: Sequence[dict[bytes, bytes]], key: bytes, value: bytes
) -> bytes | None:
    earlier = next((each[key] for each in (*others, newest) if key in each), None)
    if earlier is None:
        newest[key] = value
    return earlier


class MemoryAllocations:
    """Publishes allocations to whoever shares this object; `is_down` plays a lost server."""

    def __init__(self) -> None:
        self.is_down = False
        self.asked = 0  # How often the change list was.
        self.lose()

    def lose(self) -> None:
        """Forget everything, as Redis does when it is flushed."""
        self._publications: dict[int, Publication] = {}
        self._configurations: dict[tuple[int, int], Experiment] = {}
        self._sequences: dict[int, int] = {}
        self._sequence = 0
        self._epoch = ""
        self._is_marked_here = True

    def fail_over(self) -> None:
        """Be another server with the same memory."""
        self._is_marked_here = False

    async def publish(self, publication: Publication, experiment: Experiment) -> bool:
        """Publish a version unless a higher one, or newer evidence of it, stands there."""
        self._check()
        number = experiment.number
        standing = self._publications.get(number)
        if standing and _order(standing) > _order(publication):
            return False
        self._configurations[number, experiment.revision] = experiment
        self._configurations.pop((number, experiment.revision - 2), None)
        self._publications[number] = publication
        self._sequence += 1
        self._sequences[number] = self._sequence
        return True

    async def fetch(self, experiment: int) -> Publication | None:
        """Return what is published, or None."""
        self._check()
        return self._publications.get(experiment)

    async def configuration(self, experiment: int, revision: int) -> Experiment | None:
        """Return a published configuration, or None."""
        self._check()
        return self._configurations.get((experiment, revision))

    async def versions(self, experiments: Sequence[int]) -> dict[int, int]:
        """Return the published version of each experiment; those without one are left out."""
        self._check()
        found = {number: self._publications.get(number) for number in experiments}
        return {number: each.allocation.version for number, each in found.items() if each}

    async def changes(self, epoch: str, cursor: int) -> Changes:
        """Return what was published after a cursor of an epoch; all of it if the epoch differs."""
        self._check()
        self.asked += 1
        is_known = epoch == self._epoch and cursor <= self._sequence
        since = cursor if is_known else 0
        changed = [(at, number) for number, at in self._sequences.items() if at > since]
        return Changes(self._epoch, self._sequence, tuple(number for _, number in sorted(changed)))

    async def epoch(self) -> str:
        """Return the mark of this memory, '' when it was lost or never there."""
        self._check()
        return self._epoch if self._is_marked_here else ""

    async def begin_epoch(self, epoch: str, after: str | None = None) -> bool:
        """Mark the memory, on the server of now; False when `after` is given and not its mark."""
        if after is not None and await self.epoch() != after:
            return False
        self._check()
        self._epoch = epoch
        self._is_marked_here = True
        return True

    def _check(self) -> None:
        if self.is_down:
            raise RedisUnavailableError("the published allocations are down")


def _order(publication: Publication) -> tuple[int, int]:
    return publication.allocation.version, publication.evidence.revision


class MemoryOutbox:
    """An outbox, and its reader, in one list; `is_full` plays a full disk."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.quarantined: list[tuple[Record, str]] = []
        self.syncs = 0
        self.is_full = False

    def append(self, records: Sequence[Record], committed: int = 0) -> None:
        """Keep records, or raise when the disk is played full."""
        if self.is_full:
            raise OutboxUnavailableError("the outbox cannot be written")
        for index, record in enumerate(records):
            kind = Witness if index == 0 else CommittedReward
            self.records.append(kind(*astuple(record)) if index < committed else record)

    def sync(self) -> None:
        """Count the call, or raise when the disk is played full."""
        if self.is_full:
            raise OutboxUnavailableError("the outbox cannot be written")
        self.syncs += 1

    @property
    def is_writable(self) -> bool:
        """Whether an append would succeed."""
        return not self.is_full

    def segments(self) -> list[Segment]:
        """Return the one segment, always live."""
        return [Segment("memory", is_closed=False, modified_at_ms=0)]

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Return at most `count` records; an offset is an index here."""
        del segment
        records = tuple(self.records[offset : offset + count])
        end = offset + len(records)
        return Chunk(records, end, damaged=0, is_end=end == len(self.records))

    def quarantine(self, segment: str, record: Record, reason: str) -> None:
        """Put a record that the ledger can never take aside."""
        del segment
        self.quarantined.append((record, reason))

    def retire(self, segment: str) -> None:
        """Refuse: the one segment is live."""
        raise ValueError(f"{segment} is live")

    def retired(self) -> list[str]:
        """Return nothing: none ever is."""
        return []

    def remove(self, segment: str) -> None:
        """Do nothing: none is retired."""

    def free_bytes(self) -> int:
        """Return what a large disk has."""
        return 1 << 40

    def ends(self) -> dict[str, int]:
        """Return how many records there are."""
        return {"memory": len(self.records)}

    def backlog(self, committed: dict[str, int]) -> dict[str, float]:
        """Return the number of records not yet committed; they have no age here."""
        pending = len(self.records) - committed.get("memory", 0)
        return {"bytes": pending, "age_seconds": 0.0, "segments": 1}
