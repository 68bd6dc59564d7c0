"""However many ask for what is not held, one round at a time asks the stores, and none is stale."""

from __future__ import annotations

import asyncio

import pytest

from service.allocations.lookups import KEYS_MAX, LOOK_UPS_AT_ONCE, WAITING_MAX, Lookups
from service.errors import ExperimentNotFoundError, LedgerUnavailableError, UnavailableError
from tests.worker_rig import Rig, an_experiment


class Shelf:
    """Finds what it holds; each look-up waits until its key, or all of them, are let go."""

    def __init__(self) -> None:
        self.holds: dict[str, int] = {}
        self.in_memory: dict[str, int] = {}
        self.asked: list[str] = []
        self.rounds: list[int] = []  # How many had been asked when each of them began.
        self.let_go = asyncio.Event()
        self.stuck: dict[str, asyncio.Event] = {}
        self.defect: Exception | None = None

    async def prepare(self) -> None:
        """Count a round."""
        self.rounds.append(len(self.asked))

    async def look_up(self, key: str) -> int:
        """Look now, answer later."""
        self.asked.append(key)
        found, defect = self.holds.get(key), self.defect
        await self.stuck.get(key, self.let_go).wait()
        if defect:
            raise defect
        if found is None:
            raise ExperimentNotFoundError("none")
        return found


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lookups(shelf: Shelf) -> Lookups[str, int]:
    return Lookups(shelf.in_memory.get, shelf.look_up, shelf.prepare)


async def until_asked(shelf: Shelf, count: int = 1) -> None:
    """Wait until so many look-ups have begun."""
    while len(shelf.asked) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_who_asks_during_a_round_is_answered_by_the_next(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    early = asyncio.create_task(lookups.find("a"))
    await until_asked(shelf)
    shelf.holds["a"] = 1  # Written after the round looked, before the next one asks.
    late = [asyncio.create_task(lookups.find(key)) for key in "aab"]
    await asyncio.sleep(0)
    shelf.let_go.set()
    first, *rest = await asyncio.gather(early, *late, return_exceptions=True)

    assert isinstance(first, ExperimentNotFoundError)
    assert rest[:2] == [1, 1]
    assert isinstance(rest[2], ExperimentNotFoundError)
    assert shelf.asked == ["a", "a", "b"]


async def test_a_flood_is_looked_up_in_bounded_rounds(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    shelf.let_go.set()
    flood = [lookups.find(f"none-{i}") for i in range(2 * KEYS_MAX + 1)]
    answers = await asyncio.gather(*flood, return_exceptions=True)

    assert all(isinstance(answer, ExperimentNotFoundError) for answer in answers)
    assert shelf.rounds == [0, KEYS_MAX, 2 * KEYS_MAX]


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


async def test_what_is_found_does_not_wait_for_its_neighbours(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    shelf.holds["a"] = shelf.in_memory["held"] = 1
    shelf.stuck["slow"] = asyncio.Event()
    shelf.let_go.set()
    slow = asyncio.create_task(lookups.find("slow"))
    found = await asyncio.gather(lookups.find("a"), lookups.find("held"))
    was_waiting = not slow.done()
    shelf.stuck["slow"].set()

    assert list(found) == [1, 1]
    assert was_waiting
    with pytest.raises(ExperimentNotFoundError):
        await slow
    assert "held" not in shelf.asked


async def test_nobody_waits_past_a_deadline(shelf: Shelf, lookups: Lookups[str, int]) -> None:
    patient = asyncio.create_task(lookups.find("a"))
    soon = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(UnavailableError, match="in time"):
        await lookups.find("a", soon)
    with pytest.raises(UnavailableError, match="in time"):
        await lookups.find("b", soon)
    shelf.holds["a"] = 1
    was_waiting = not patient.done()
    patient.cancel()

    assert was_waiting


async def test_what_nobody_waits_for_any_more_is_not_looked_up(
    shelf: Shelf, lookups: Lookups[str, int]
) -> None:
    first = asyncio.create_task(lookups.find("first"))
    await until_asked(shelf)
    soon = asyncio.get_running_loop().time() + 0.01
    await asyncio.gather(*(lookups.find(key, soon) for key in "abc"), return_exceptions=True)
    shelf.let_go.set()
    await asyncio.gather(first, lookups.find("d"), return_exceptions=True)

    assert shelf.asked == ["first", "d"]


async def test_only_so_many_may_wait(shelf: Shelf, lookups: Lookups[str, int]) -> None:
    first = asyncio.create_task(lookups.find("first"))
    await until_asked(shelf)
    crowd = [asyncio.create_task(lookups.find(f"none-{i}")) for i in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too much"):
        await lookups.find("late")
    with_others = asyncio.create_task(lookups.find("none-0"))
    shelf.let_go.set()
    answers = await asyncio.gather(first, *crowd, with_others, return_exceptions=True)

    assert all(isinstance(answer, ExperimentNotFoundError) for answer in answers)
    with pytest.raises(ExperimentNotFoundError):
        await lookups.find("late")


async def test_a_lost_sql_is_told_to_all_at_once(shelf: Shelf, lookups: Lookups[str, int]) -> None:
    shelf.defect = LedgerUnavailableError("hung")
    in_a_round = [asyncio.create_task(lookups.find(f"none-{i}")) for i in range(20)]
    await until_asked(shelf, LOOK_UPS_AT_ONCE)
    of_the_next = asyncio.create_task(lookups.find("late"))
    await asyncio.sleep(0)
    shelf.let_go.set()
    answers = await asyncio.gather(*in_a_round, of_the_next, return_exceptions=True)

    assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
    assert len(shelf.asked) == LOOK_UPS_AT_ONCE


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
