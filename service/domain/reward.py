"""A reward: a value attributed to one decision under an event name."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

MICROS = 1_000_000  # Values are kept as integer millionths, so that sums of money are exact.


class RewardStatus(IntEnum):
    """What became of a reward; all but duplicates stand in the ledger."""

    accepted = 0
    duplicate = 1
    ignored = 2  # Of a forced or inactive decision, or an event the experiment does not count.
    late = 3  # After the attribution window.
    queued = 4  # Safe in the outbox while SQL is down; the ledger will tell.


class Reward(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A reward as it travels in the outbox and stands in the ledger.

    (key, event, event_id) is its primary key; variant and time of the decision come from the
    token. `converts` says whether the event's value made the decision a conversion.
    """

    key: bytes
    event: str
    event_id: str
    tenant: int
    experiment: int
    variant: int
    decided_at_ms: int
    value_micros: int
    status: int
    converts: bool
    occurred_at_ms: int
    received_at_ms: int

    @property
    def is_counted(self) -> bool:
        """Whether the reward is evidence."""
        return self.status == RewardStatus.accepted
