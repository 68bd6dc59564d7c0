"""Every state of an experiment and of a variant meets every act."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.domain.experiment import Experiment, ExperimentState, Variant, VariantState
from service.errors import StateConflictError, VariantNotFoundError
from service.experiments.lifecycle import Act, VariantAct, moved, variant_moved

REFUSED = "refused"
SAME = "same"
ACTIVE, PAUSED, RETIRED = VariantState.ACTIVE, VariantState.PAUSED, VariantState.RETIRED
TABLE = {
    ("draft", "pause"): REFUSED,
    ("draft", "resume"): "running",
    ("draft", "stop"): REFUSED,
    ("running", "pause"): "paused",
    ("running", "resume"): SAME,
    ("running", "stop"): "stopped",
    ("paused", "pause"): SAME,
    ("paused", "resume"): "running",
    ("paused", "stop"): "stopped",
    ("stopped", "pause"): REFUSED,
    ("stopped", "resume"): REFUSED,
    ("stopped", "stop"): SAME,
}
VARIANT_TABLE = {
    ("active", "pause"): "paused",
    ("active", "resume"): SAME,
    ("active", "retire"): "retired",
    ("paused", "pause"): SAME,
    ("paused", "resume"): "active",
    ("paused", "retire"): "retired",
    ("retired", "pause"): REFUSED,
    ("retired", "resume"): REFUSED,
    ("retired", "retire"): SAME,
}


def an_experiment(state: str = "running", *states: VariantState) -> Experiment:
    """Return an experiment whose variants a (control), b, .. are in the given states."""
    variants = tuple(
        Variant(name, is_control=name == "a", state=each)
        for name, each in zip("abc", states or (ACTIVE, ACTIVE), strict=False)
    )
    return Experiment(1, 1, "e", 1, b"", variants, ExperimentState(state))


def test_the_tables_leave_nothing_out() -> None:
    assert TABLE.keys() == {(s, a) for s in ExperimentState for a in Act}
    assert VARIANT_TABLE.keys() == {(s, a) for s in VariantState for a in VariantAct}


@pytest.mark.parametrize(("state", "act"), TABLE)
def test_an_act_leads_where_the_table_says(state: str, act: str) -> None:
    before, expected = an_experiment(state), TABLE[state, act]
    if expected == REFUSED:
        with pytest.raises(StateConflictError, match="cannot become"):
            moved(before, Act(act))
    elif expected == SAME:
        assert moved(before, Act(act)) is before
    else:
        assert moved(before, Act(act)) == replace(before, state=ExperimentState(expected))


@pytest.mark.parametrize(("state", "act"), VARIANT_TABLE)
def test_an_act_on_a_variant_leads_where_the_table_says(state: str, act: str) -> None:
    before = an_experiment("running", ACTIVE, VariantState(state))
    expected = VARIANT_TABLE[state, act]
    if expected == REFUSED:
        with pytest.raises(StateConflictError, match="cannot become"):
            variant_moved(before, "b", VariantAct(act))
    elif expected == SAME:
        assert variant_moved(before, "b", VariantAct(act)) is before
    else:
        after = variant_moved(before, "b", VariantAct(act))
        assert after.variants == (
            before.variants[0],
            replace(before.variants[1], state=VariantState(expected)),
        )


@pytest.mark.parametrize("act", [VariantAct.PAUSE, VariantAct.RETIRE])
def test_the_last_active_variant_of_a_running_experiment_stays(act: VariantAct) -> None:
    with pytest.raises(StateConflictError, match="needs an active variant"):
        variant_moved(an_experiment("running", PAUSED, ACTIVE), "b", act)


@pytest.mark.parametrize("state", ["draft", "paused"])
def test_an_experiment_that_does_not_run_may_lose_its_last_active_variant(state: str) -> None:
    after = variant_moved(an_experiment(state, PAUSED, ACTIVE), "b", VariantAct.PAUSE)

    assert after.active == ()


def test_nothing_starts_without_an_active_variant() -> None:
    with pytest.raises(StateConflictError, match="needs an active variant"):
        moved(an_experiment("paused", PAUSED, PAUSED), Act.RESUME)


def test_the_control_cannot_be_retired() -> None:
    with pytest.raises(StateConflictError, match="make another variant the control"):
        variant_moved(an_experiment(), "a", VariantAct.RETIRE)


def test_the_control_may_be_paused() -> None:
    after = variant_moved(an_experiment(), "a", VariantAct.PAUSE)

    assert (after.control, after.active) == (0, (1,))


@pytest.mark.parametrize("act", VariantAct)
def test_a_stopped_experiment_keeps_its_variants_as_they_are(act: VariantAct) -> None:
    state = ACTIVE if act is not VariantAct.RESUME else PAUSED
    with pytest.raises(StateConflictError, match="does not change any more"):
        variant_moved(an_experiment("stopped", ACTIVE, state), "b", act)


def test_an_unknown_variant_is_not_found() -> None:
    with pytest.raises(VariantNotFoundError):
        variant_moved(an_experiment(), "zzz", VariantAct.PAUSE)
