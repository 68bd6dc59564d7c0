"""A unit that was in the ledger, the outbox and the quarantine is in no file when it is erased."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.clock import HOUR_MS, MINUTE_MS
from service.domain.decision import Decision
from service.store.outbox import SegmentOutbox
from tests.erasing import ErasingWorker, erasing_worker, files_telling
from tests.sql_stores import url_of
from tests.store_records import a_decision, a_reward

pytestmark = pytest.mark.integration
UNIT = "ada@example.com"
# Of several pages of SQLite: those that it leaves are overwritten as well.
CONTEXT = b'{"mail":"' + UNIT.encode() + b'","more":"' + b"x" * 4_000 + b'"}'


@pytest.fixture(params=["sqlite", "postgresql"])
async def worker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ErasingWorker]:
    async with erasing_worker(url_of(request.param, request, tmp_path), tmp_path / "outbox") as w:
        yield w


def decisions(worker: ErasingWorker, count: int) -> list[Decision]:
    """Return decisions of now, every tenth of them the unit's."""
    given = [a_decision(number, at_ms=worker.clock.at_ms) for number in range(count)]
    return [
        replace(each, unit=UNIT, occasion=f"to {UNIT}", context=CONTEXT) if n % 10 == 0 else each
        for n, each in enumerate(given)
    ]


async def units(worker: ErasingWorker) -> list[str]:
    rows, _ = await worker.ledger.rows(7, None, 10_000)
    return [row.decision.unit for row in rows]


async def test_a_unit_is_in_no_file_when_its_erasure_is_done(
    worker: ErasingWorker, tmp_path: Path
) -> None:
    outbox = SegmentOutbox(tmp_path / "outbox", worker.clock)
    given = decisions(worker, 500)
    outbox.append(given)
    outbox.append([replace(a_reward(1), key=given[0].key, event_id=f"order of {UNIT}")])
    await worker.drain_all()
    worker.reader.quarantine("one.seg", given[0], "poison")
    erasure = await worker.erasures.request(1, UNIT, "test")
    await worker.turn()
    assert (await units(worker)).count("") == 50
    worker.clock.at_ms += HOUR_MS
    outbox.roll_over()

    done = await worker.until_done(erasure.id)

    assert (done.rows, done.unit, done.done_at_ms is None) == (50, "", False)
    assert UNIT not in await units(worker)
    assert await worker.ledger.recount(7) == []
    assert files_telling(tmp_path, UNIT) == []
    assert len(list((tmp_path / "outbox" / "quarantine").iterdir())) == 1
    outbox.close()


async def test_a_request_is_not_done_while_a_live_segment_may_hold_the_unit(
    worker: ErasingWorker, tmp_path: Path
) -> None:
    outbox = SegmentOutbox(tmp_path / "outbox", worker.clock)
    outbox.append(decisions(worker, 10))
    erasure = await worker.erasures.request(1, UNIT, "test")

    held = await worker.until_done(erasure.id)
    outbox.close()
    done = await worker.until_done(erasure.id)

    assert held.done_at_ms is None
    assert held.rows == done.rows == 1
    assert done.done_at_ms is not None


async def test_a_choice_after_the_request_is_a_new_relationship(
    worker: ErasingWorker, tmp_path: Path
) -> None:
    outbox = SegmentOutbox(tmp_path / "outbox", worker.clock)
    outbox.append(decisions(worker, 1))
    await worker.drain_all()
    erasure = await worker.erasures.request(1, UNIT, "test")
    await worker.turn()
    worker.clock.at_ms += 2 * MINUTE_MS
    later = replace(decisions(worker, 1)[0], key=b"l" * 16)
    outbox.append([later])
    outbox.close()

    done = await worker.until_done(erasure.id)

    assert done.done_at_ms is not None
    assert await units(worker) == ["", UNIT]
