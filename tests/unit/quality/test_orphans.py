"""A reward is an orphan when its decision has not come a good while after it."""

from __future__ import annotations

from service.domain.quality import Outcome
from service.quality.orphans import GRACE_MS, OrphanHunt
from service.store.memory_quality import MemoryQualityEvidence, MemoryTallyStore
from tests.worker_rig import Rig


async def test_a_reward_is_looked_at_when_its_decision_has_had_time_to_come() -> None:
    rig, tallies = Rig(), MemoryTallyStore()
    hunt = OrphanHunt(MemoryQualityEvidence(rig.ledger, tallies), rig.clock)
    spring = await rig.create()
    await hunt.turn()
    rig.clock.at_ms += GRACE_MS
    await hunt.turn()  # From here on rewards are looked at.
    early, late = rig.decision(spring, 0), rig.decision(spring, 0)
    await rig.ledger.append([early], [rig.reward(early), rig.reward(late)])
    await hunt.turn()
    assert await tallies.rows(spring.number, 0) == {}
    rig.clock.at_ms += GRACE_MS - 1
    await hunt.turn()
    found = []
    for _ in range(2):
        rig.clock.at_ms += GRACE_MS
        await hunt.turn()
        rows = await tallies.rows(spring.number, 0)
        found.append({key.outcome: tally.count for key, tally in rows.items()})

    assert found == [{Outcome.found: 1, Outcome.orphan: 1}] * 2
