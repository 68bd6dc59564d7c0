"""A figure keeps its bound or not, and a ratio is taken within a round."""

from __future__ import annotations

import pytest

from loadtests.bench.figures import Figure, interleaved, paired, rate
from loadtests.bench.report import page, table
from loadtests.wrk import Trial


def trial(requests: int) -> Trial:
    return Trial(requests, 1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure("at least, above", 0.5, "x", ">=", 0.45), True),
        (Figure("at least, equal", 0.45, "x", ">=", 0.45), True),
        (Figure("at least, below", 0.44, "x", ">=", 0.45), False),
        (Figure("at most, below", 3.9, "x", "<=", 4.0), True),
        (Figure("at most, above", 4.1, "x", "<=", 4.0), False),
        (Figure("only told", 17.0), True),
    ],
    ids=lambda value: value.name if isinstance(value, Figure) else "",
)
def test_a_figure_is_met_on_the_right_side_of_its_bound(figure: Figure, is_met: bool) -> None:
    assert figure.is_met is is_met


def test_a_ratio_is_the_median_over_rounds_and_not_of_medians() -> None:
    rounds = {
        "service": [trial(10), trial(20), trial(90)],
        "floor": [trial(10), trial(40), trial(30)],
    }

    assert paired(rounds, "service", "floor", rate) == pytest.approx(1.0)


def test_trials_take_turns_and_the_warm_up_round_is_thrown_away() -> None:
    tags: list[str] = []

    def load(tag: str) -> Trial:
        tags.append(tag)
        return trial(len(tags))

    found = interleaved({"a": load, "b": load}, rounds=2)

    assert tags == ["a00-", "b00-", "a01-", "b01-", "a02-", "b02-"]
    assert [t.requests for t in found["a"]] == [3, 5]


def test_the_table_and_the_page_say_which_figures_missed() -> None:
    figures = [Figure("fast", 2.0, "x", ">=", 1.0), Figure("slow", 12.5, "ms", "<=", 10.0)]

    assert "12.50 ms  <= 10 ms  MISS" in table(figures)
    assert "| slow | 12.50 ms | <= 10 ms | MISS |  |" in page(figures, {"machine": {"cores": "2"}})
