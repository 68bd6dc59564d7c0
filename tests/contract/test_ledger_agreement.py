"""Any history of appends leaves every ledger where the one in memory is, and equal to its rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.domain.decision import Decision, Source
from service.domain.reward import Reward, RewardStatus
from service.store.memory_ledger import MemoryLedger
from service.store.ports import Ledger
from tests.sql_stores import BACKENDS, decision, opened_backend, reward, url_of

Batch = tuple[list[Decision], list[Reward]]

EXPERIMENTS = (0, 1)
UNITS = st.integers(0, 4)
HISTORIES = count()  # Every history plays in experiments of its own.


@pytest.fixture(params=BACKENDS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend.stores.ledger


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Draw from few enough decisions that replays and differing answers are common."""
    plain = decision(draw(UNITS), experiment=draw(st.sampled_from(EXPERIMENTS)))
    return replace(
        plain,
        variant=draw(st.integers(0, 2)),
        source=int(draw(st.sampled_from(Source))),
        version=draw(st.integers(1, 2)),
        decided_at_ms=plain.decided_at_ms + draw(st.sampled_from((0, 1, 3_600_000))),
        context=draw(st.sampled_from((None, b"{}", b'{"\\u00e9": 1}'))),
    )


@st.composite
def rewards(draw: st.DrawFn) -> Reward:
    """Draw a reward of a decision that may have come, will come, or never comes."""
    plain = reward(draw(decisions()), event=draw(st.sampled_from(("visit", "purchase"))))
    statuses = (
        RewardStatus.accepted,
        RewardStatus.accepted,
        RewardStatus.ignored,
        RewardStatus.late,
    )
    return replace(
        plain,
        event_id=draw(st.sampled_from(("", "a", "\N{SNOWMAN}"))),
        value_micros=draw(st.integers(-(10**12), 10**15)),
        status=int(draw(st.sampled_from(statuses))),
        converts=draw(st.booleans()),
        occurred_at_ms=plain.decided_at_ms + draw(st.integers(-1_000, 10**10)),
    )


BATCHES = st.tuples(st.lists(decisions(), max_size=6), st.lists(rewards(), max_size=6))


def moved(batch: Batch, base: int) -> Batch:
    """Play a batch in the experiments that start at a number."""

    def key(record: Decision | Reward) -> bytes:
        return base.to_bytes(8, "big") + record.key[8:]

    return (
        [replace(d, experiment=base + d.experiment, key=key(d)) for d in batch[0]],
        [replace(r, experiment=base + r.experiment, key=key(r)) for r in batch[1]],
    )


async def test_drawn_keys_differ_after_moving() -> None:
    keys = {decision(u, experiment=e).key[8:] for u in range(5) for e in EXPERIMENTS}

    assert len(keys) == 10


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(BATCHES, max_size=5))
async def test_any_history_gives_the_same_evidence_rows_and_outcomes(
    ledger: Ledger, history: list[Batch]
) -> None:
    base = 10 + 2 * next(HISTORIES)
    reference = MemoryLedger()

    for batch in (moved(drawn, base) for drawn in history):
        assert await ledger.append(*batch) == await reference.append(*batch)

    for experiment in (base, base + 1):
        assert await ledger.recount(experiment) == []
        assert await reference.recount(experiment) == []
        assert await ledger.evidence(experiment) == await reference.evidence(experiment)
        assert await ledger.evidence(experiment, 1) == await reference.evidence(experiment, 1)
        rows, _ = await ledger.rows(experiment, None, 100)
        expected, _ = await reference.rows(experiment, None, 100)
        assert rows == expected
