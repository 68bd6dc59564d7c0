"""A decision: the recorded answer, its key, and the 20 bytes that a replay needs."""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b

from msgspec import Struct

EPOCH_MS = 1_577_836_800_000  # 2020-01-01: 40 bits of milliseconds reach from here to 2054.
REPLAY_BYTES = 20
_REPLAY = struct.Struct(">HBIIdB")
_KEY_PREFIX = struct.Struct(">II")


class Source(IntEnum):
    """Where an answer came from; the names are those of the HTTP contract."""

    policy = 0
    fallback = 1
    forced = 2
    inactive = 3


COUNTED_SOURCES = (Source.policy, Source.fallback)
# Answers that Redis may never have heard of; an inactive one does not tell whether it was there.
UNCONFIRMED_SOURCES = (Source.fallback, Source.inactive)


class Decision(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A recorded answer, as it travels in the outbox and stands in the ledger.

    `key` is the 128-bit decision key, `variant` an index, `context` the caller's JSON or None,
    `eligible` the indices the caller allowed or None for all: with the allocation of `version`,
    unit and occasion they are all that the answer depends on.
    """

    key: bytes
    tenant: int
    experiment: int
    variant: int
    propensity: float
    source: int
    holdout: bool
    version: int
    key_id: int
    decided_at_ms: int
    unit: str
    occasion: str
    context: bytes | None = None
    eligible: tuple[int, ...] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the answer is evidence: not forced, and given while the experiment ran."""
        return self.source in COUNTED_SOURCES


def key_prefix(tenant: int, experiment: int) -> bytes:
    """Return the fixed head of what a decision key is hashed from."""
    return _KEY_PREFIX.pack(tenant, experiment)


def send_bytes(unit: str, occasion: str) -> bytes:
    """Return (unit, occasion) as bytes that no other pair shares: the unit's length leads."""
    unit_bytes = unit.encode()
    return len(unit_bytes).to_bytes(2, "big") + unit_bytes + occasion.encode()


def decision_key(tenant: int, experiment: int, unit: str, occasion: str) -> bytes:
    """Return the 128-bit key: a hash of (tenant, experiment, unit, occasion)."""
    data = key_prefix(tenant, experiment) + send_bytes(unit, occasion)
    return blake2b(data, digest_size=16).digest()


class Replay(Struct, frozen=True, gc=False):
    """What the idempotency memory holds of a decision."""

    variant: int
    decided_at_ms: int
    version: int
    propensity: float
    holdout: bool
    source: int
    key_id: int


def pack_replay(variant: int, at_ms: int, version: int, propensity: float, flags: int) -> bytes:
    """Return the 20 bytes of a decision; `flags` as of `replay_flags`."""
    age = at_ms - EPOCH_MS
    return _REPLAY.pack(variant, age >> 32, age & 0xFFFFFFFF, version, propensity, flags)


def replay_flags(*, holdout: bool, source: int, key_id: int) -> int:
    """Return group, source and key id (1 to 31) in one byte."""
    return (key_id << 3) | (source << 1) | holdout


def unpack_replay(value: bytes) -> Replay:
    """Return what `pack_replay` packed; `struct.error` when it is not 20 bytes."""
    variant, high, low, version, propensity, flags = _REPLAY.unpack(value)
    return Replay(
        variant=variant,
        decided_at_ms=EPOCH_MS + (high << 32) + low,
        version=version,
        propensity=propensity,
        holdout=bool(flags & 1),
        source=(flags >> 1) & 3,
        key_id=flags >> 3,
    )


def replay_of(decision: Decision) -> bytes:
    """Return the 20 bytes of a recorded decision."""
    flags = replay_flags(holdout=decision.holdout, source=decision.source, key_id=decision.key_id)
    return pack_replay(
        decision.variant, decision.decided_at_ms, decision.version, decision.propensity, flags
    )
