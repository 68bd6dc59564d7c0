"""Loops come back after whatever their turns meet, and end when told."""

from __future__ import annotations

import asyncio

from service.errors import LedgerUnavailableError
from service.worker.lease import Lease
from service.worker.loop import BACKOFF_MAX_SECONDS, Loop, every
from tests.worker_rig import Rig


class Turns:
    """A turn that fails as often as it is told to."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error = error
        self.failures = failures
        self.taken = 0
        self.succeeded = asyncio.Event()

    async def turn(self) -> int:
        """Fail or succeed."""
        self.taken += 1
        if self.taken <= self.failures:
            raise self.error
        self.succeeded.set()
        return self.taken


class TroubledLeases:
    """A lease store that answers what it is told, or is down."""

    def __init__(self) -> None:
        self.answer: bool | None = True
        self.released: list[str] = []

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Answer as told."""
        del name, holder, seconds
        if self.answer is None:
            raise LedgerUnavailableError("down")
        return self.answer

    async def release(self, name: str, holder: str) -> None:
        """Note it."""
        self.released.append(f"{name} {holder}")


def a_loop(turns: Turns, rig: Rig) -> Loop:
    return Loop(
        name="test",
        turn=turns.turn,
        pause=every(7.0),
        clock=rig.clock,
        metrics=rig.metrics,
        jitter=lambda: 1.0,
    )


async def test_a_failing_turn_backs_off_and_a_good_one_resets_it() -> None:
    rig = Rig()
    loop = a_loop(Turns(LedgerUnavailableError("down"), failures=8), rig)

    pauses = [await loop.once() for _ in range(9)]

    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses[-2:] == [BACKOFF_MAX_SECONDS, 7.0]
    sample = rig.metrics.registry.get_sample_value
    assert sample("promobandit_loop_failures_total", {"loop": "test"}) == 8
    last = sample("promobandit_loop_success_timestamp_seconds", {"loop": "test"})
    assert last == rig.clock.now_ms() / 1_000


async def test_a_bug_in_a_turn_does_not_end_its_loop() -> None:
    turns = Turns(ZeroDivisionError("bug"), failures=1)
    stop = asyncio.Event()
    running = asyncio.create_task(a_loop(turns, Rig()).run(stop))
    await asyncio.wait_for(turns.succeeded.wait(), 5)

    stop.set()
    await asyncio.wait_for(running, 1)

    assert turns.taken == 2


async def test_a_lease_is_held_until_somebody_else_has_it() -> None:
    leases = TroubledLeases()
    lease = Lease(leases, "allocator", "me")
    held = [lease.is_held]

    # In between SQL is down: nobody else can take it, and it has not run out.
    for answer in (True, None, False):
        leases.answer = answer
        await lease.turn()
        held.append(lease.is_held)

    assert held == [False, True, True, False]


async def test_a_released_lease_is_free_for_others() -> None:
    leases = TroubledLeases()
    lease = Lease(leases, "allocator", "me")
    await lease.turn()

    await lease.release()

    assert not lease.is_held
    assert leases.released == ["allocator me"]
