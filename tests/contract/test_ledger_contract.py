"""Every ledger counts what is new exactly once, whoever sends it, however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.decision import Source
from service.domain.evidence import Bucket, BucketKey, delay_bin
from service.domain.reward import RewardStatus
from service.errors import PoisonRecordError
from service.store.ports import Ledger, OutboxPosition
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


async def test_forced_and_inactive_answers_are_kept_and_not_counted(ledger: Ledger) -> None:
    sources = [Source.policy, Source.fallback, Source.forced, Source.inactive]
    sent = [replace(decision(unit), source=int(source)) for unit, source in enumerate(sources)]

    await ledger.append(sent, [])
    rows, _ = await ledger.rows(7, None, 10)

    assert [row.counted for row in rows] == [True, True, False, False]
    assert (await bucket(ledger)).pulls == 2


@pytest.mark.parametrize("status", [RewardStatus.ignored, RewardStatus.late])
async def test_ignored_and_late_rewards_are_kept_and_not_counted(
    ledger: Ledger, status: RewardStatus
) -> None:
    sent = decision(1)
    kept = replace(reward(sent), status=int(status))

    first = await ledger.append([sent], [kept])
    again = await ledger.append([], [reward(sent)])
    rows, _ = await ledger.rows(7, None, 10)

    assert (first.rewards, again.rewards) == ((status,), (RewardStatus.duplicate,))
    assert rows[0].rewards == (kept,)
    assert (await bucket(ledger)).conversions == 0


async def test_a_reward_may_come_before_its_decision(ledger: Ledger) -> None:
    sent = decision(1)

    await ledger.append([], [reward(sent)])
    await ledger.append([sent], [])
    rows, _ = await ledger.rows(7, None, 10)

    assert rows[0].rewards == (reward(sent),)
    found = await bucket(ledger)
    assert (found.pulls, found.conversions) == (1, 1)


async def test_a_differing_answer_is_kept_beside_the_first_and_not_counted(ledger: Ledger) -> None:
    first = decision(1)
    other = replace(first, variant=2, decided_at_ms=first.decided_at_ms + 5)

    outcome = await ledger.append([first, other], [])
    again = await ledger.append([other, first, replace(other, version=13)], [])
    rows, _ = await ledger.rows(7, None, 10)

    assert (outcome.decisions_new, outcome.conflicts) == (1, 1)
    assert (again.decisions_new, again.conflicts) == (0, 1)
    assert [(row.decision.variant, row.counted) for row in rows] == [
        (0, True),
        (2, False),
        (2, False),
    ]
    assert (await bucket(ledger)).pulls == 1
    assert (await bucket(ledger, variant=2)).pulls == 0


async def test_a_reward_is_exported_with_the_row_of_its_variant(ledger: Ledger) -> None:
    first = decision(1)
    other = replace(first, variant=2, decided_at_ms=first.decided_at_ms + 5)
    strange = replace(first, variant=1)
    credited = [
        reward(other),
        reward(first, event="open"),
        reward(strange, event="click"),
    ]

    await ledger.append([first, other], credited)
    rows, _ = await ledger.rows(7, None, 10)

    assert [[r.event for r in row.rewards] for row in rows] == [["open", "click"], ["conversion"]]
    assert (await bucket(ledger, variant=2)).conversions == 1
    assert await ledger.recount(7) == []


async def test_pages_hold_every_row_once_in_order_of_time(ledger: Ledger) -> None:
    sent = [decision(unit, hours=-unit % 3) for unit in range(20)]
    besides = [
        replace(sent[3], variant=1),
        replace(sent[3], variant=2),
        replace(sent[9], version=1),
    ]
    await ledger.append([*sent, *besides, decision(1, experiment=8)], [])

    rows, cursor = await ledger.rows(7, None, 4)
    while cursor is not None:
        page, cursor = await ledger.rows(7, cursor, 4)
        assert 0 < len(page) <= 4
        rows += page

    expected = sorted([*sent, *besides], key=lambda d: (d.decided_at_ms, d.key))
    assert [row.decision for row in rows] == expected
    assert sum(row.counted for row in rows) == 20


async def test_recent_decisions_come_newest_first_from_all_experiments(ledger: Ledger) -> None:
    sent = [decision(unit, experiment=7 + unit % 2, hours=unit % 4) for unit in range(20)]
    await ledger.append([*sent, replace(sent[5], variant=2)], [])
    since_ms = sent[1].decided_at_ms

    found, cursor = await ledger.recent_decisions(since_ms, None, 6)
    while cursor is not None:
        page, cursor = await ledger.recent_decisions(since_ms, cursor, 6)
        found += page

    recent = [d for d in sent if d.decided_at_ms >= since_ms]
    assert found == sorted(recent, key=lambda d: (d.decided_at_ms, d.key), reverse=True)


async def test_a_position_only_moves_forward(ledger: Ledger) -> None:
    positions = []

    for offset in (100, 40, 250):
        await ledger.append([], [], OutboxPosition("a", offset))
        positions.append(await ledger.position("a"))

    assert positions == [100, 100, 250]
    assert await ledger.position("b") == 0


async def test_a_forgotten_segment_starts_at_zero(ledger: Ledger) -> None:
    await ledger.append([decision(1)], [], OutboxPosition("a", 100))

    await ledger.forget_segment("a")

    assert await ledger.position("a") == 0


POISON = {
    "NUL in a unit": replace(decision(2), unit="a\0b"),
    "half a character": replace(decision(2), occasion="\ud800"),
    "a time beyond 64 bits": replace(decision(2), decided_at_ms=2**63),
    "a variant below zero": replace(decision(2), variant=-1),
    "a source beyond its column": replace(decision(2), source=2**15),
    "no probability": replace(decision(2), propensity=float("nan")),
    "a short key": replace(decision(2), key=b"short"),
    "broken context": replace(decision(2), context=b"\xff"),
    "NUL in a context": replace(decision(2), context=b"{\0}"),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_poison_is_named_and_nothing_beside_it_committed(
    ledger: Ledger, poison: object
) -> None:
    batch = [decision(1), poison]

    with pytest.raises(PoisonRecordError, match="decision 1 of 2"):
        await ledger.append(batch, [reward(decision(1))], OutboxPosition("a", 9))  # type: ignore[arg-type]

    assert await ledger.rows(7, None, 10) == ([], None)
    assert await ledger.position("a") == 0
    assert await ledger.evidence_revisions() == {}


@pytest.mark.parametrize(
    "poison",
    [
        replace(reward(decision(1)), value_micros=2**63),
        replace(reward(decision(1)), event_id="x" * 3_000),
        replace(reward(decision(1)), event="\0"),
        replace(reward(decision(1)), occurred_at_ms=-(2**70)),
    ],
    ids=["value", "length", "NUL", "time"],
)
async def test_a_poisonous_reward_is_named(ledger: Ledger, poison: object) -> None:
    with pytest.raises(PoisonRecordError, match="reward 0 of 1"):
        await ledger.append([decision(1)], [poison])  # type: ignore[list-item]

    assert await ledger.rows(7, None, 10) == ([], None)


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
