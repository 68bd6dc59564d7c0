"""The promises that use cases rely on; memory, Redis and SQL stores keep them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.domain.allocation import Allocation, Publication
from service.domain.decision import Decision
from service.domain.experiment import AuditEntry, Experiment
from service.domain.reward import Reward
from service.store.records import (
    Changes,
    Cursor,
    EvidenceChange,
    LedgerOutcome,
    LedgerRow,
    OutboxPosition,
    Record,
    RecountDifference,
    Snapshot,
)
from service.store.recovery_ports import AdoptingExperiments, RecoverableLedger


class Ledger(RecoverableLedger, Protocol):
    """The append-only record of decisions and rewards, and the evidence made from it."""

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Insert what is new, in one transaction with evidence and outbox position.

        Parameters
        ----------
        decisions, rewards
            At most 1,000 together. A key that stands in the ledger already is left alone; a
            decision that differs from its first row in variant, version or time is kept beside it.
        position
            Committed with the rows; a lower one than stands there is ignored.

        Raises
        ------
        LedgerUnavailableError
            SQL is down, late or refusing writes; nothing was committed, as far as is known.
        PoisonRecordError
            A record can never be taken; nothing was committed.
        PositionMovedError, LedgerWentBackError
            The ledger is not at the position's start, or lacks a witness; nothing was committed.
        """
        ...

    async def evidence(self, experiment: int, above_revision: int = 0) -> EvidenceChange:
        """Return the buckets changed above a revision (0: all of them) and the newest revision."""
        ...

    async def evidence_revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        ...

    async def recount(self, experiment: int) -> list[RecountDifference]:
        """Recount the evidence from the rows, in one snapshot; an empty list means equal."""
        ...

    async def rows(
        self, experiment: int, after: Cursor | None, count: int
    ) -> tuple[list[LedgerRow], Cursor | None]:
        """Return decisions in order of time with their rewards, and where to go on (None: end)."""
        ...

    async def recent_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions of all experiments, newest first, for the replays."""
        ...

    async def forget_segment(self, segment: str) -> None:
        """Drop the position of a deleted segment."""
        ...

    async def is_reachable(self) -> bool:
        """Return whether SQL answers; never raises."""
        ...


class ExperimentStore(AdoptingExperiments, Protocol):
    """Experiment configurations, every revision of them, and the audit trail."""

    async def create(self, experiment: Experiment, actor: str, above: int = 0) -> Experiment:
        """Insert revision 1, assign a `number` above the given one, write the trail.

        Raises `StateConflictError` when (tenant, id) exists.
        """
        ...

    async def update(self, experiment: Experiment, action: str, actor: str) -> Experiment:
        """Insert the given revision after its predecessor, and write the trail.

        Raises `RevisionConflictError` unless `experiment.revision` is the stored one plus one,
        `ExperimentNotFoundError` for an unknown one.
        """
        ...

    async def get(self, tenant: int, experiment_id: str) -> Experiment:
        """Return the newest revision, or raise `ExperimentNotFoundError`."""
        ...

    async def by_number(self, number: int, revision: int | None = None) -> Experiment:
        """Return a revision (None: the newest), or raise `ExperimentNotFoundError`."""
        ...

    async def all(self, tenant: int | None = None) -> list[Experiment]:
        """Return the newest revision of every experiment, in order of number."""
        ...

    async def trail(self, tenant: int, experiment_id: str) -> list[AuditEntry]:
        """Return an experiment's administrative acts, oldest first."""
        ...


class AllocationStore(Protocol):
    """Every allocation ever in force; (experiment, version) is the primary key."""

    async def insert(self, allocation: Allocation) -> bool:
        """Insert a version; False when it exists already: the loser starts again."""
        ...

    async def head(self, experiment: int) -> Allocation | None:
        """Return the highest version, or None."""
        ...

    async def heads(self) -> dict[int, int]:
        """Return the highest version of every experiment."""
        ...

    async def get(self, experiment: int, version: int) -> Allocation | None:
        """Return one version, or None."""
        ...


class SnapshotStore(Protocol):
    """Rows of evidence, estimates and allocation at a time."""

    async def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Insert rows; one that exists (experiment, variant, time) is left alone."""
        ...

    async def rows(self, experiment: int, since_ms: int) -> list[Snapshot]:
        """Return an experiment's snapshots from a time on, in order of (time, variant)."""
        ...

    async def thin(self, before_ms: int) -> int:
        """Keep the first of every hour of those older than a time; return how many went."""
        ...


class LeaseStore(Protocol):
    """Leases timed by the database's clock; they save work, correctness rests elsewhere."""

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while another holder's has not expired."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back if it is ours."""
        ...


class ReplayMemory(Protocol):
    """The idempotency memory: decision key -> the 20 bytes of the first answer."""

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Remember each answer unless its key has one; return the earlier answers.

        Parameters
        ----------
        keys, values
            16 and 20 bytes each, at most 500; the same key may stand in it twice, then the
            later one is told the earlier one's value.
        now_ms
            Chooses the 24-hour generation; the one before is looked up too.
        deadline_ms
            What the callers have left to wait: it may shorten the memory's own deadline.

        Returns
        -------
        list
            One entry per key: None where the answer was new, else the bytes remembered;
            `UNREACHED` where only a part of the memory is gone, and the key is of that part.

        Raises `RedisUnavailableError` when Redis is gone, late or refuses writes.
        """
        ...

    async def restore(self, decisions: Sequence[Decision]) -> None:
        """Write what the ledger says of these decisions, over whatever is remembered."""
        ...


class PublishedAllocations(Protocol):
    """The fast copy of allocations, their evidence and configurations, for API processes."""

    async def publish(self, publication: Publication, experiment: Experiment) -> bool:
        """Publish a version unless a higher one stands there; then return False.

        The same version again replaces the evidence, but never with an older revision of it. The
        configuration is written first.
        """
        ...

    async def fetch(self, experiment: int) -> Publication | None:
        """Return what is published, or None."""
        ...

    async def configuration(self, experiment: int, revision: int) -> Experiment | None:
        """Return a published configuration, or None."""
        ...

    async def versions(self, experiments: Sequence[int]) -> dict[int, int]:
        """Return the published version of each experiment; those without one are left out."""
        ...

    async def changes(self, epoch: str, cursor: int) -> Changes:
        """Return what was published after a cursor of an epoch; all of it if the epoch differs."""
        ...

    async def epoch(self) -> str:
        """Return the mark of this memory, '' when Redis lost it or never had one.

        Also when the server is not the one, or not the run of it, that was marked: a failover or
        a restart may have lost the last writes, and kept the mark.
        """
        ...

    async def begin_epoch(self, epoch: str, after: str | None = None) -> bool:
        """Mark the memory, on the server of now; False when `after` is given and not its mark."""
        ...


class Outbox(Protocol):
    """Append-only, crash-safe segment files of this process; see `service.store.outbox`."""

    def append(self, records: Sequence[Record], committed: int = 0) -> None:
        """Write records so that they survive a kill of this process.

        So many at the start are rewards that were new in one transaction of the ledger: readers
        see them as one `Witness` and `CommittedReward`.

        Raises `OutboxUnavailableError` when they cannot be written whole.
        """
        ...

    def sync(self) -> None:
        """Make what was appended survive a power cut; blocks for the disk."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether the last append succeeded, or space for one is there."""
        ...
