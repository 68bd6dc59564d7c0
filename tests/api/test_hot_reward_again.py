"""POST /reward once more, when the attribution window is judged otherwise than the first time."""

from __future__ import annotations

import httpx

from service.domain.clock import DAY_MS, HOUR_MS
from tests.hot_rig import HotRig


async def rewarded_twice(first_after_ms: int, again_after_ms: int) -> tuple[HotRig, httpx.Response]:
    """Reward a decision at two times after it; return the second answer."""
    rig = HotRig()
    rig.experiment()
    decided_at_ms = rig.clock.at_ms
    async with rig.client() as client:
        wish = {"experiment": "autumn", "unit": "u", "occasion": "o"}
        told = (await client.post("/choose", json=wish)).json()
        report = {"decision_id": told["decision_id"]}
        rig.clock.at_ms = decided_at_ms + first_after_ms
        await client.post("/reward", json=report)
        rig.clock.at_ms = decided_at_ms + again_after_ms
        return rig, await client.post("/reward", json=report)


async def conversions(rig: HotRig) -> int:
    return sum(bucket.conversions for bucket in (await rig.ledger.evidence(1)).buckets)


async def test_a_reward_that_counts_is_not_called_late_when_it_is_sent_again() -> None:
    rig, again = await rewarded_twice(0, 8 * DAY_MS)

    assert (again.status_code, again.json()) == (200, {"status": "duplicate"})
    assert await conversions(rig) == 1


async def test_a_late_reward_stays_late_at_a_process_whose_clock_is_behind() -> None:
    rig, again = await rewarded_twice(7 * DAY_MS + 1, 7 * DAY_MS - HOUR_MS)

    assert again.status_code == 410
    assert await conversions(rig) == 0
