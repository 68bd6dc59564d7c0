"""Records and a clock for the tests of stores."""

from __future__ import annotations

import hashlib

from service.domain.clock import DAY_MS
from service.domain.decision import Decision, Source, decision_key
from service.domain.reward import Reward, RewardStatus

NOW_MS = 20_000 * DAY_MS + 5_000


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self, at_ms: int = NOW_MS) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        """Return the time it was set to."""
        return self.at_ms

    def monotonic_ms(self) -> int:
        """Return the same: nobody sets this clock back unless a test does it on purpose."""
        return self.at_ms


def a_decision(serial: int, *, at_ms: int = NOW_MS, context: bytes | None = None) -> Decision:
    unit = f"unit-{serial}"
    return Decision(
        key=decision_key(1, 7, unit, "spring"),
        tenant=1,
        experiment=7,
        variant=serial % 3,
        propensity=0.25,
        source=int(Source.policy),
        holdout=serial % 2 == 0,
        version=12,
        key_id=1,
        decided_at_ms=at_ms,
        unit=unit,
        occasion="spring",
        context=context,
    )


def a_reward(serial: int, *, at_ms: int = NOW_MS) -> Reward:
    return Reward(
        key=hashlib.blake2b(str(serial).encode(), digest_size=16).digest(),
        event="conversion",
        event_id="",
        tenant=1,
        experiment=7,
        variant=serial % 3,
        decided_at_ms=at_ms - 60_000,
        value_micros=1_000_000,
        status=int(RewardStatus.accepted),
        converts=True,
        occurred_at_ms=at_ms,
        received_at_ms=at_ms,
    )
