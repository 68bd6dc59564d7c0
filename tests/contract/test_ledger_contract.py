"""Every ledger counts what is new exactly once, whoever sends it, however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS
from service.domain.decision import Source
from service.domain.evidence import Bucket, BucketKey, delay_bin
from service.domain.reward import RewardStatus
from service.store.ports import Ledger
from service.store.records import OutboxPosition
from tests.sql_stores import BACKENDS, Backend, decision, opened_backend, reward, url_of

HOUR = 500_000


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return backend.stores.ledger


async def bucket(ledger: Ledger, variant: int = 0, hour: int = HOUR) -> Bucket:
    """Return one bucket of experiment 7."""
    change = await ledger.evidence(7)
    key = BucketKey(7, "", variant, hour)
    return next((b for b in change.buckets if b.key == key), Bucket(key=key))


async def test_an_append_can_be_read_at_once(ledger: Ledger) -> None:
    first = replace(decision(1), context=b'{"plan": "gold", "name": "\xc3\x89"}')
    second = decision(2, variant=1)

    outcome = await ledger.append([first, second], [reward(first)])
    rows, cursor = await ledger.rows(7, None, 10)

    assert (outcome.decisions_new, outcome.conflicts) == (2, 0)
    assert outcome.rewards == (RewardStatus.accepted,)
    assert [row.decision for row in rows] == [first, second]
    assert [row.rewards for row in rows] == [(reward(first),), ()]
    assert cursor is None


async def test_evidence_holds_pulls_conversions_values_events_and_delays(ledger: Ledger) -> None:
    one, other = decision(1), decision(2)
    purchase = replace(reward(one, event="purchase", micros=2_500_000), event_id="a")

    await ledger.append([one, other], [reward(one), purchase])
    await ledger.append([], [replace(purchase, event_id="b", value_micros=-500_000)])

    found = await bucket(ledger)
    assert (found.pulls, found.conversions) == (2, 1)
    assert found.value_micros == 3_000_000
    assert found.value_micros_squared == 3_000_000**2
    assert found.events == {"conversion": 1, "purchase": 2}
    assert found.delays == {delay_bin(90_000): 1}
    assert await ledger.recount(7) == []


async def test_a_decision_counts_once_however_often_it_is_sent(ledger: Ledger) -> None:
    sent = decision(1)

    first = await ledger.append([sent, replace(sent)], [])
    again = await ledger.append([replace(sent), decision(2)], [])

    assert (first.decisions_new, first.conflicts) == (1, 0)
    assert (again.decisions_new, again.conflicts) == (1, 0)
    assert (await bucket(ledger)).pulls == 2


async def test_a_reward_counts_once_however_often_it_is_sent(ledger: Ledger) -> None:
    sent = decision(1)

    first = await ledger.append([sent], [reward(sent), reward(sent)])
    again = await ledger.append([sent], [reward(sent)])

    assert first.rewards == (RewardStatus.accepted, RewardStatus.duplicate)
    assert again.rewards == (RewardStatus.duplicate,)
    assert (await bucket(ledger)).events == {"conversion": 1}


async def test_a_reward_counts_once_when_eight_senders_race(backend: Backend) -> None:
    sent = [decision(unit) for unit in range(20)]
    ledgers = [backend.stores.ledger, backend.twin.ledger] * 4

    outcomes = await asyncio.gather(*(x.append(sent, list(map(reward, sent))) for x in ledgers))

    statuses = [status for outcome in outcomes for status in outcome.rewards]
    assert sum(outcome.decisions_new for outcome in outcomes) == 20
    assert statuses.count(RewardStatus.accepted) == 20
    assert statuses.count(RewardStatus.duplicate) == 140
    assert (await bucket(backend.stores.ledger)).pulls == 20
    assert (await bucket(backend.stores.ledger)).conversions == 20


async def test_concurrent_appends_to_mixed_experiments_all_land(backend: Backend) -> None:
    def work(worker: int, turn: int) -> tuple[Ledger, list[int]]:
        ledger = (backend.stores, backend.twin)[worker % 2].ledger
        return ledger, [worker * 1_000 + turn * 10 + i for i in range(10)]

    async def worker(number: int) -> None:
        for turn in range(5):
            ledger, units = work(number, turn)
            order = (7, 8, 9) if number % 2 else (9, 8, 7)
            sent = [decision(unit, experiment=e, variant=unit % 3) for unit in units for e in order]
            await ledger.append(sent, list(map(reward, sent[::2])))

    await asyncio.gather(*(worker(number) for number in range(8)))

    ledger = backend.stores.ledger
    assert await ledger.evidence_revisions() == {7: 40, 8: 40, 9: 40}
    for experiment in (7, 8, 9):
        change = await ledger.evidence(experiment)
        assert sum(found.pulls for found in change.buckets) == 400
        assert await ledger.recount(experiment) == []


async def test_revisions_have_no_gaps_and_move_only_with_evidence(ledger: Ledger) -> None:
    sent = decision(1)
    seen = []

    for decisions, rewards in [
        ([sent], []),
        ([sent], []),  # A replay changes nothing.
        ([], [reward(sent)]),
        ([], [replace(reward(sent, event="late"), status=int(RewardStatus.late))]),
        ([replace(decision(2), source=int(Source.forced))], []),
        ([decision(3)], []),
    ]:
        await ledger.append(decisions, rewards)
        seen.append((await ledger.evidence(7)).revision)

    assert seen == [1, 1, 2, 2, 2, 3]


async def test_only_buckets_above_a_revision_are_read(ledger: Ledger) -> None:
    await ledger.append([decision(1), decision(2, hours=1)], [])
    await ledger.append([decision(3, variant=1), decision(4, experiment=8)], [])
    await ledger.append([decision(5, hours=1)], [])

    change = await ledger.evidence(7, above_revision=1)

    assert change.revision == 3
    assert [(b.key.variant, b.key.hour, b.pulls) for b in change.buckets] == [
        (0, HOUR + 1, 2),
        (1, HOUR, 1),
    ]
    assert (await ledger.evidence(7, above_revision=3)).buckets == ()


async def test_an_unknown_experiment_has_no_evidence(ledger: Ledger) -> None:
    change = await ledger.evidence(99)

    assert (change.revision, change.buckets) == (0, ())
    assert await ledger.evidence_revisions() == {}
    assert await ledger.recount(99) == []
    assert await ledger.rows(99, None, 10) == ([], None)


async def test_evidence_is_a_copy(ledger: Ledger) -> None:
    await ledger.append([decision(1)], [reward(decision(1))])

    taken = await bucket(ledger)
    taken.pulls = 99
    taken.events["conversion"] = 99

    assert (await bucket(ledger)).pulls == 1
    assert (await bucket(ledger)).events == {"conversion": 1}


async def test_a_position_only_moves_forward(ledger: Ledger) -> None:
    positions = []

    for offset in (100, 40, 250):
        await ledger.append([], [], OutboxPosition("a", offset))
        positions.append(await ledger.position("a"))

    assert positions == [100, 100, 250]
    assert await ledger.position("b") == 0


async def test_a_position_settles_by_the_clock_of_the_ledger(ledger: Ledger) -> None:
    await ledger.append([], [], OutboxPosition("a", 100))

    assert await ledger.settled_positions(["a", "b"], HOUR_MS) == {}
    assert await ledger.settled_positions(["a", "b"], -HOUR_MS) == {"a": 100}


async def test_a_forgotten_segment_starts_at_zero(ledger: Ledger) -> None:
    await ledger.append([decision(1)], [], OutboxPosition("a", 100))

    await ledger.forget_segment("a")

    assert await ledger.position("a") == 0


async def test_sums_of_large_values_stay_exact(ledger: Ledger) -> None:
    huge = 2**62 + 1
    sent = [decision(unit) for unit in range(5)]

    for each in sent:
        await ledger.append([each], [reward(each, micros=huge)])

    found = await bucket(ledger)
    assert found.value_micros == 5 * huge
    assert found.value_micros_squared == 5 * huge**2
    assert await ledger.recount(7) == []


async def test_a_full_batch_is_taken_at_once(ledger: Ledger) -> None:
    sent = [decision(unit, experiment=unit % 50, hours=unit % 100) for unit in range(500)]

    outcome = await ledger.append(sent, list(map(reward, sent)), OutboxPosition("a", 1))

    assert outcome.decisions_new == 500
    assert set(outcome.rewards) == {RewardStatus.accepted}
    assert len(await ledger.evidence_revisions()) == 50


async def test_the_ledger_is_reachable(ledger: Ledger) -> None:
    assert await ledger.is_reachable()
