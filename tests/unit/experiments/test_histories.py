"""Whatever operators do, in any order: nothing is lost, and what runs can be sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from service.domain.experiment import Experiment, ExperimentState, Variant, VariantState
from service.errors import ServiceError
from service.experiments import Act, Definition, VariantAct
from service.experiments.definition import checked, first_revision, redefined
from service.experiments.lifecycle import moved, variant_moved

Step = Callable[[Experiment], Experiment]
ids = st.sampled_from("abcd")


def put(names: list[str], control: int, state: ExperimentState | None) -> Step:
    variants = tuple(
        Variant(name, is_control=i == control % len(names)) for i, name in enumerate(names)
    )
    return lambda experiment: redefined(
        experiment, checked(Definition(variants=variants, state=state))
    )


steps = st.one_of(
    st.sampled_from(Act).map(lambda act: lambda e: moved(e, act)),
    st.tuples(ids, st.sampled_from(VariantAct)).map(
        lambda pair: lambda e: variant_moved(e, pair[0], pair[1])
    ),
    st.builds(
        put,
        st.lists(ids, min_size=1, unique=True),
        st.integers(0, 3),
        st.none() | st.sampled_from(ExperimentState),
    ),
)


def is_sound(before: Experiment, after: Experiment) -> bool:
    """Whether an act kept every promise on variants and states."""
    kept = after.variants[: len(before.variants)]
    return (
        [v.id for v in kept] == [v.id for v in before.variants]
        and len({v.id for v in after.variants}) == len(after.variants)
        and sum(v.is_control for v in after.variants) == 1
        and after.variants[after.control].state is not VariantState.RETIRED
        and all(
            new.state is VariantState.RETIRED
            for old, new in zip(before.variants, kept, strict=True)
            if old.state is VariantState.RETIRED
        )
        and (after.state is not ExperimentState.RUNNING or bool(after.active))
        and (before.state is not ExperimentState.STOPPED or after == before)
        and (after.state is not ExperimentState.DRAFT or before.state is ExperimentState.DRAFT)
        and (after.number, after.salt, after.id) == (before.number, before.salt, before.id)
    )


@given(st.lists(steps, max_size=30), st.sampled_from(["draft", "running"]))
def test_no_history_of_acts_breaks_a_promise(history: list[Step], state: str) -> None:
    definition = Definition(variants=(Variant("a"), Variant("b")), state=ExperimentState(state))
    experiment = first_revision(checked(definition), 1, "e")

    for step in history:
        with suppress(ServiceError):
            after = step(experiment)
            assert is_sound(experiment, after)
            experiment = after
