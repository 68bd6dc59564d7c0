"""The records that stores give and take besides those of the domain."""

from __future__ import annotations

from msgspec import Struct

from service.domain.decision import Decision
from service.domain.evidence import Bucket
from service.domain.reward import Reward, RewardStatus

Record = Decision | Reward


class CommittedReward(Reward, frozen=True, array_like=True, tag=3, gc=False):
    """A reward that the ledger had when it was appended: kept for a ledger that goes back."""


class Witness(CommittedReward, frozen=True, array_like=True, tag=4, gc=False):
    """A reward that was new in its transaction: while its row stands, so do the others of it.

    The committed rewards that follow it in the outbox, up to the next one, are of its transaction.
    """


class OutboxPosition(Struct, frozen=True):
    """How far a segment has been committed to the ledger, in bytes.

    With `start`, the position that must stand there before; `witnesses` are rewards that must, as
    they are.
    """

    segment: str
    offset: int
    start: int | None = None
    witnesses: tuple[Reward, ...] = ()


class LedgerOutcome(Struct, frozen=True):
    """What one ledger transaction changed.

    `rewards` has one status per reward given, in order; `decisions_new` counts first rows,
    `conflicts` the differing answers that were kept beside the first one (new ones only).
    `differing` are the keys whose first row is another than one that was given, and `late` the
    rewards among the duplicates that were recorded as late, by (key, event, event_id).
    """

    decisions_new: int
    conflicts: int
    rewards: tuple[RewardStatus, ...]
    differing: frozenset[bytes] = frozenset()
    late: frozenset[tuple[bytes, str, str]] = frozenset()


class EvidenceChange(Struct, frozen=True):
    """The buckets of one experiment that changed above a revision, whole, and the newest one."""

    revision: int
    buckets: tuple[Bucket, ...]


class RecountDifference(Struct, frozen=True):
    """One measure of one bucket where the evidence and a recount of the rows disagree."""

    variant: int
    hour: int
    measure: str
    evidence: int
    recount: int


class LedgerRow(Struct, frozen=True):
    """A decision as exported: `counted` is false for forced, inactive and conflicting answers."""

    decision: Decision
    counted: bool
    rewards: tuple[Reward, ...]


class Cursor(Struct, frozen=True):
    """A place in an experiment's decisions, ordered by (time, key, kept beside or not)."""

    decided_at_ms: int
    key: bytes
    serial: int = 0  # 0 for the first committed row, then 1, 2, .. for conflicting answers.


class Snapshot(Struct, frozen=True):
    """Evidence, estimate and allocation of one variant at one time."""

    experiment: int
    variant: int
    at_ms: int
    version: int
    pulls: int
    conversions: int
    value_micros: int
    effective_pulls: float
    effective_successes: float
    propensity: float


# What the replay memory tells of a key while the part of it that has the key is out of reach.
UNREACHED = b""


class Changes(Struct, frozen=True):
    """Experiments published since a cursor; a new epoch means that Redis lost its memory."""

    epoch: str
    cursor: int
    experiments: tuple[int, ...]


class Segment(Struct, frozen=True):
    """One outbox file; `is_closed` once no live process holds it."""

    name: str
    is_closed: bool
    modified_at_ms: int


class Chunk(Struct, frozen=True):
    """Records read from a segment; `next_offset` is where to go on after committing them."""

    records: tuple[Record, ...]
    next_offset: int
    damaged: int
    is_end: bool  # Nothing valid follows now.
