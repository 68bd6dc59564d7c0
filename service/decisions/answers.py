"""What becomes of a candidate: the first answer to its send, or a fallback without Redis."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from service.domain.decision import Decision, Replay, Source, unpack_replay
from service.domain.limits import VARIANTS_EVER_MAX
from service.domain.token import TokenCodec

_log = structlog.get_logger(__name__)


def fall_back(decisions: list[Decision], asked: Sequence[int]) -> set[int]:
    """Answer without Redis; within a batch at least, equal sends get one answer."""
    firsts: dict[bytes, Decision] = {}
    repeated = set()
    for i in asked:
        first = firsts.get(decisions[i].key)
        if first is None:
            first = firsts[decisions[i].key] = _fallback(decisions[i])
        else:
            repeated.add(i)
        decisions[i] = first
    return repeated


def _fallback(decision: Decision) -> Decision:
    """Mark an answer that Redis was not there to confirm; an inactive one stays inactive."""
    if decision.source != Source.policy:
        return decision
    return replace(decision, source=int(Source.fallback))


def first_answer(candidate: Decision, value: bytes, codec: TokenCodec) -> Decision:
    """Return the first answer to the candidate's send, from its 20 bytes."""
    try:
        replay = unpack_replay(value)
    except struct.error:
        replay = None
    if replay is None or not _is_possible(replay):
        _log.error("replay_memory_damaged")  # Not ours: the candidate is as good as any.
        return candidate
    return replace(
        candidate,
        variant=replay.variant,
        propensity=replay.propensity,
        source=replay.source,
        holdout=replay.holdout,
        version=replay.version,
        # Signed anew where its key is gone, or not here yet: better another id than no answer.
        key_id=replay.key_id if codec.can_sign(replay.key_id) else candidate.key_id,
        decided_at_ms=replay.decided_at_ms,
    )


def _is_possible(replay: Replay) -> bool:
    return 0.0 < replay.propensity <= 1.0 and replay.variant < VARIANTS_EVER_MAX
