"""However many ask for what is not held, one round at a time asks the stores, and none is stale."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.allocations.lookups import KEYS_MAX, Lookups
from service.errors import ExperimentNotFoundError, LedgerUnavailableError
from tests.worker_rig import Rig, an_experiment


class Shelf:
    """Finds what it holds when a round ends; each round waits until it is let go."""

    def __init__(self) -> None:
        self.holds: dict[str, int] = {}
        self.rounds: list[list[str]] = []
        self.running = 0
        self.let_go = asyncio.Event()
        self.defect: Exception | None = None

    async def look_up(self, keys: Sequence[str]) -> dict[str, int | Exception]:
        """Look now, answer later."""
        assert not self.running
        self.running += 1
        self.rounds.append(list(keys))
        missing = ExperimentNotFoundError("none")
        found: dict[str, int | Exception] = {key: self.holds.get(key, missing) for key in keys}
        await self.let_go.wait()
        self.running -= 1
        if self.defect:
            raise self.defect
        return found


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lookups(shelf: Shelf) -> Lookups[str, int]:
    return Lookups(shelf.look_up)


async def test_who_asks_during_a_round_is_answered_by_the_next(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    early = asyncio.create_task(lookups.find("a"))
    while not shelf.running:  # noqa: ASYNC110
        await asyncio.sleep(0)
    shelf.holds["a"] = 1  # Written after the round looked, before the next one asks.
    late = [asyncio.create_task(lookups.find(key)) for key in "aab"]
    await asyncio.sleep(0)
    shelf.let_go.set()
    first, *rest = await asyncio.gather(early, *late, return_exceptions=True)

    assert isinstance(first, ExperimentNotFoundError)
    assert rest[:2] == [1, 1]
    assert isinstance(rest[2], ExperimentNotFoundError)
    assert shelf.rounds == [["a"], ["a", "b"]]


async def test_a_flood_is_looked_up_in_bounded_rounds(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    shelf.let_go.set()
    flood = [lookups.find(f"none-{i}") for i in range(2 * KEYS_MAX + 1)]
    answers = await asyncio.gather(*flood, return_exceptions=True)

    assert all(isinstance(answer, ExperimentNotFoundError) for answer in answers)
    assert [len(keys) for keys in shelf.rounds] == [KEYS_MAX, KEYS_MAX, 1]


async def test_who_gives_up_takes_nothing_from_the_others(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    shelf.holds["a"] = 1
    impatient, patient = (asyncio.create_task(lookups.find("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    shelf.let_go.set()

    assert await patient == 1
    assert impatient.cancelled()


async def test_what_a_round_meets_is_told_and_the_next_one_runs(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    shelf.let_go.set()
    shelf.defect = LedgerUnavailableError("down")
    with pytest.raises(LedgerUnavailableError):
        await lookups.find("a")
    shelf.defect = None
    shelf.holds["a"] = 1

    assert await lookups.find("a") == 1


async def test_unknown_ids_ask_the_change_list_once_and_known_ones_never_wait() -> None:
    rig = Rig()
    known, late = await rig.create(), await rig.create(an_experiment("late"))
    await rig.allocator().reallocate(known, "create")
    tables = rig.tables()
    await tables.load()
    await rig.allocator().reallocate(late, "create")
    asked_before = rig.published.asked
    unknown = [asyncio.create_task(tables.find(1, f"none-{i}")) for i in range(50)]
    found = await tables.find(1, known.id)
    are_waiting = [not task.done() for task in unknown]
    answers = await asyncio.gather(*unknown, tables.find(1, "late"), return_exceptions=True)

    assert found.experiment.id == known.id
    assert all(are_waiting)
    assert all(isinstance(answer, ExperimentNotFoundError) for answer in answers[:-1])
    assert answers[-1] is tables.get(1, "late")
    assert rig.published.asked - asked_before <= 2


async def test_numbers_that_nobody_knows_are_shared_too() -> None:
    rig = Rig()
    tables = rig.tables()
    answers = await asyncio.gather(
        *(tables.find_number(n % 3 + 1) for n in range(9)), return_exceptions=True
    )

    assert all(isinstance(answer, ExperimentNotFoundError) for answer in answers)
