"""Every store of data quality adds tallies, replaces states, and looks at each reward once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS
from service.domain.quality import CheckState, Outcome, QualityState, Tally, TallyKey
from service.domain.reward import RewardStatus
from tests.sql_stores import (
    BACKENDS,
    START_MS,
    Stores,
    decision,
    opened_backend,
    reward,
    url_of,
)

HOUR = START_MS // HOUR_MS


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend.stores


def key(hour: int = HOUR, outcome: Outcome = Outcome.accepted, experiment: int = 7) -> TallyKey:
    return TallyKey(experiment, hour, outcome)


def state(check: str, sentence: str = "All is well.", experiment: int = 7) -> QualityState:
    figures = {"share": 0.25}
    return QualityState(experiment, check, CheckState.ok, 1, START_MS, sentence, figures)


async def test_tallies_add_up_and_keep_their_extremes(stores: Stores) -> None:
    await stores.tallies.add({key(): Tally(3, 9 * 10**12, -5, 60), key(HOUR - 1): Tally(1)})
    await stores.tallies.add({key(): Tally(2, 7, 1, 90), key(experiment=8): Tally(4)})
    await stores.tallies.add({})

    assert await stores.tallies.rows(7, HOUR) == {key(): Tally(5, 9 * 10**12, -5, 90)}
    assert await stores.tallies.totals(HOUR - 1) == {7: 6, 8: 4}


async def test_old_tallies_go_a_few_at_a_time(stores: Stores) -> None:
    await stores.tallies.add({key(HOUR + i): Tally(1) for i in range(5)})

    gone = [await stores.tallies.expire(HOUR + 3, 2) for _ in range(3)]

    assert gone == [2, 1, 0]
    assert set(await stores.tallies.rows(7, 0)) == {key(HOUR + 3), key(HOUR + 4)}


async def test_a_state_replaces_the_one_before_it(stores: Stores) -> None:
    await stores.quality_states.save([state("values"), state("orphans"), state("values", "", 8)])
    changed = replace(state("values", "Bad."), state=CheckState.alarm, since_ms=5, figures={})
    await stores.quality_states.save([changed])
    await stores.quality_states.save([])

    assert await stores.quality_states.of_experiment(7) == [state("orphans"), changed]
    assert await stores.quality_states.all() == [state("orphans"), changed, state("values", "", 8)]


async def test_evidence_is_read_from_an_hour_on(stores: Stores) -> None:
    made = [decision(i, hours=hours, variant=hours % 2) for i, hours in enumerate((0, 1, 2, 2))]
    await stores.ledger.append([*made, decision(9, hours=2, experiment=8)], [])
    await stores.ledger.append([], [reward(made[2], micros=3)])

    assert await stores.quality_evidence.hours(7, HOUR + 1) == [
        (0, HOUR + 2, 2, 1, 3, 9, {1: 1}),
        (1, HOUR + 1, 1, 0, 0, 0, {}),
    ]


async def test_the_last_reward_that_counts_tells_the_silence(stores: Stores) -> None:
    late = replace(reward(decision(2, hours=5)), status=int(RewardStatus.late))
    await stores.ledger.append([], [reward(decision(1)), late])

    assert await stores.quality_evidence.last_accepted_ms(7) == START_MS + 1 + 91_000
    assert await stores.quality_evidence.last_accepted_ms(8) is None


async def test_each_reward_is_looked_at_once_for_its_decision(stores: Stores) -> None:
    quality, made = stores.quality_evidence, [decision(i) for i in range(6)]
    await stores.ledger.append([], [reward(made[0])])
    await quality.tally_orphans(await quality.newest_reward(), 10)  # It begins behind that one.
    await stores.ledger.append(made[1:4], [reward(each) for each in made[1:]])
    newest = await quality.newest_reward()

    has_more = [await quality.tally_orphans(newest, 3) for _ in range(3)]

    assert has_more == [True, False, False]
    assert await stores.tallies.rows(7, 0) == {
        key(outcome=Outcome.found): Tally(3),
        key(outcome=Outcome.orphan): Tally(2),
    }
