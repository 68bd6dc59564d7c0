"""The watch judges what has something new, tells what changed, and outlives a failing check."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.domain.clock import MINUTE_MS
from service.domain.experiment import Experiment, ExperimentState
from service.domain.quality import CheckState, Outcome, Tally, TallyKey
from service.errors import LedgerUnavailableError
from service.metrics.page import Page
from service.quality.standings import HOLD_MS
from service.quality.watch import EXPERIMENTS_MS, ROUTINE_MS
from service.store.memory_quality import MemoryQualityStates
from tests.quality_rig import Changes, Oracle, a_watch
from tests.worker_rig import Rig, an_experiment


@pytest.fixture
def rig() -> Rig:
    return Rig()


def pass_ms(rig: Rig, milliseconds: int) -> None:
    rig.clock.at_ms += milliseconds


async def paused(rig: Rig, experiment: Experiment) -> None:
    after = replace(experiment, revision=2, state=ExperimentState.PAUSED)
    await rig.experiments.update(after, "pause", "test")
    pass_ms(rig, EXPERIMENTS_MS)


async def test_only_what_has_something_new_is_judged_until_its_routine_turn(rig: Rig) -> None:
    oracle = Oracle()
    watch = a_watch(rig, [oracle])
    quiet, busy = [await rig.create(an_experiment(name)) for name in ("quiet", "busy")]
    await watch.turn()
    await rig.send(busy, 0, 1, 0)
    await watch.turn()
    await watch.turn()
    pass_ms(rig, ROUTINE_MS)
    await watch.turn()

    assert quiet.number < busy.number
    assert oracle.asked == ["quiet", "busy", "busy", "quiet", "busy"]


async def test_a_turn_without_time_judges_one_and_goes_on_with_the_longest_unseen(
    rig: Rig,
) -> None:
    oracle = Oracle()
    watch = a_watch(rig, [oracle])
    watch.turn_seconds_max = 0.0
    for name in ("a", "b", "c"):
        await rig.create(an_experiment(name))
    for _ in range(4):
        await watch.turn()

    assert oracle.asked == ["a", "b", "c"]


async def test_a_change_is_told_once_and_kept(rig: Rig) -> None:
    oracle, changes, states = Oracle(), Changes(), MemoryQualityStates()
    watch = a_watch(rig, [oracle], changes, states)
    spring = await rig.create()
    await watch.turn()
    began_ms = rig.clock.now_ms()
    for _ in range(2):
        pass_ms(rig, ROUTINE_MS)
        oracle.state = CheckState.alarm
        await watch.turn()
    again = Changes()
    await a_watch(rig, [oracle], again, states).turn()

    (change,) = changes
    assert (change.experiment, change.before, change.after) == ("spring", 0, 2)
    assert change.at_ms == began_ms + ROUTINE_MS
    (state,) = await states.of_experiment(spring.number)
    assert (state.since_ms, state.checked_at_ms) == (change.at_ms, began_ms + 2 * ROUTINE_MS)
    assert again == []  # A worker that takes over knows what was told.


async def test_a_state_is_left_for_a_better_one_only_when_that_has_lasted(rig: Rig) -> None:
    oracle, changes = Oracle(), Changes()
    watch = a_watch(rig, [oracle], changes)
    await rig.create()
    oracle.state = CheckState.alarm
    await watch.turn()
    oracle.state = CheckState.ok
    told = []
    for _ in range(HOLD_MS // ROUTINE_MS + 1):
        pass_ms(rig, ROUTINE_MS)
        await watch.turn()
        told.append(len(changes))

    assert told == [1, 1, 2]
    assert changes[-1].sentence == "It is ok."


async def test_a_paused_experiment_is_told_to_be_judged_no_more(rig: Rig) -> None:
    oracle, changes = Oracle(), Changes()
    watch = a_watch(rig, [oracle], changes)
    spring = await rig.create()
    oracle.state = CheckState.alarm
    await watch.turn()
    await paused(rig, spring)
    await watch.turn()
    pass_ms(rig, ROUTINE_MS)
    await watch.turn()

    assert oracle.asked == ["spring"]
    assert changes[-1].after is CheckState.ok
    assert changes[-1].sentence == "The experiment is paused: its data are not judged."


async def test_a_check_that_fails_stops_neither_the_others_nor_other_experiments(
    rig: Rig,
) -> None:
    broken, sound, states = Oracle("orphans"), Oracle("values"), MemoryQualityStates()
    broken.error = ZeroDivisionError()
    watch = a_watch(rig, [broken, sound], None, states)
    for name in ("a", "b"):
        await rig.create(an_experiment(name))
    with pytest.raises(ExceptionGroup) as caught:
        await watch.turn()

    assert len(caught.value.exceptions) == 1
    assert sound.asked == ["a", "b"]
    assert len(await states.all()) == 2


async def test_without_sql_the_turn_ends_and_the_next_one_judges(rig: Rig) -> None:
    oracle = Oracle()
    watch = a_watch(rig, [oracle])
    await rig.create()
    oracle.error = LedgerUnavailableError("SQL is down")
    with pytest.raises(LedgerUnavailableError):
        await watch.turn()
    oracle.error = None
    await watch.turn()

    assert oracle.asked == ["spring", "spring"]


async def test_every_state_is_on_the_learning_page(rig: Rig) -> None:
    oracle = Oracle()
    oracle.state = CheckState.warning
    watch = a_watch(rig, [oracle])
    await rig.create()
    await watch.turn()
    page = Page()
    watch.standings.write_page(page)

    line = b'promobandit_quality_state{experiment="spring",check="values"} 1.0\n'
    assert line in page.text()


async def test_old_tallies_go(rig: Rig) -> None:
    watch = a_watch(rig, [])
    await watch.tallies.add({TallyKey(1, 3, Outcome.late): Tally(1)})
    pass_ms(rig, 36 * 24 * 60 * MINUTE_MS)
    await watch.turn()

    assert await watch.tallies.rows(1, 0) == {}
