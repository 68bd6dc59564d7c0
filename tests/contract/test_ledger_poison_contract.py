"""Every ledger names the record that it can never take, and takes nothing beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.errors import PoisonRecordError
from service.store.ports import Ledger
from service.store.records import OutboxPosition
from tests.sql_stores import BACKENDS, Backend, decision, opened_backend, reward, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return backend.stores.ledger


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
