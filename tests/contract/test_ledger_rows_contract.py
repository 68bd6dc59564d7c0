"""Every ledger keeps all that was answered and rewarded, and tells what of it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.decision import Source
from service.domain.evidence import Bucket, BucketKey
from service.domain.reward import RewardStatus
from service.store.ports import Ledger
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
    is_late = status is RewardStatus.late
    assert again.late == ({(kept.key, kept.event, kept.event_id)} if is_late else set())
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


async def test_decisions_that_redis_may_not_know_come_newest_first(ledger: Ledger) -> None:
    sent = [
        replace(decision(unit, experiment=7 + unit % 2, hours=unit // 4), source=unit % 4)
        for unit in range(40)
    ]
    await ledger.append(sent, [])
    since_ms = sent[9].decided_at_ms

    found, cursor = await ledger.unconfirmed_decisions(since_ms, None, 6)
    while cursor is not None:
        page, cursor = await ledger.unconfirmed_decisions(since_ms, cursor, 6)
        found += page

    expected = [
        d
        for d in sent
        if d.decided_at_ms >= since_ms and d.source in {Source.fallback, Source.inactive}
    ]
    assert found == sorted(expected, key=lambda d: (d.decided_at_ms, d.key), reverse=True)
