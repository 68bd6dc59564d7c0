"""What every ledger refuses alike: records that no database can take, found before one is asked."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.decision import Decision
from service.domain.reward import Reward
from service.errors import PoisonRecordError

_KEY_BYTES = 16
_INT64_MAX = 2**63 - 1
_UINT16_MAX = 2**16 - 1
# The unique key of a reward is indexed whole, and a PostgreSQL index entry has its limits.
_EVENT_BYTES_MAX = 1_024


def refuse_poison(decisions: Sequence[Decision], rewards: Sequence[Reward]) -> None:
    """Raise `PoisonRecordError`, naming the first record that can never be taken."""
    for index, decision in enumerate(decisions):
        flaw = _decision_flaw(decision)
        if flaw is not None:
            raise PoisonRecordError(f"decision {index} of {len(decisions)}: {flaw}")
    for index, reward in enumerate(rewards):
        flaw = _reward_flaw(reward)
        if flaw is not None:
            raise PoisonRecordError(f"reward {index} of {len(rewards)}: {flaw}")


def _decision_flaw(decision: Decision) -> str | None:
    if not (
        0 <= decision.decided_at_ms <= _INT64_MAX
        and 0 <= decision.version <= _INT64_MAX
        and 0 <= decision.source <= _UINT16_MAX >> 1
        and 0 <= decision.key_id <= _UINT16_MAX >> 1
        and _is_placed(decision)
    ):
        return "a number is out of range"
    if not 0.0 <= decision.propensity <= 1.0:
        return "the propensity is not a probability"
    if decision.context is not None and not _is_storable_json(decision.context):
        return "the context is not text that SQL can hold"
    return _text_flaw(decision.key, decision.unit, decision.occasion)


def _reward_flaw(reward: Reward) -> str | None:
    times_and_value = (reward.value_micros, reward.occurred_at_ms, reward.received_at_ms)
    if not (
        0 <= reward.decided_at_ms <= _INT64_MAX
        and 0 <= reward.status <= _UINT16_MAX >> 1
        and all(-_INT64_MAX <= number <= _INT64_MAX for number in times_and_value)
        and _is_placed(reward)
    ):
        return "a number is out of range"
    if len(reward.event) + len(reward.event_id) > _EVENT_BYTES_MAX >> 2:
        return "event and event_id are too long"
    return _text_flaw(reward.key, reward.event, reward.event_id)


def _is_placed(record: Decision | Reward) -> bool:
    return (
        0 <= record.variant <= _UINT16_MAX
        and 0 <= record.experiment <= _INT64_MAX
        and 0 <= record.tenant <= _INT64_MAX
    )


def _text_flaw(key: bytes, one: str, other: str) -> str | None:
    if len(key) != _KEY_BYTES:
        return "the key is not 16 bytes"
    if "\0" in one or "\0" in other:
        return "a text holds a NUL character"
    if one.isascii() and other.isascii():
        return None
    return None if _is_encodable(one) and _is_encodable(other) else "a text is not valid Unicode"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_storable_json(context: bytes) -> bool:
    try:
        return "\0" not in context.decode()
    except UnicodeDecodeError:
        return False
